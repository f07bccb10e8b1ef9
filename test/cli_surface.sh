#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each command on a store with --json, read by jq, and its wrong usages.
set -eu

sluice=${SLUICE:-sluice}
for program in "$sluice" jq; do
    command -v "$program" >/dev/null || {
        echo "skip - there is no $program"
        exit 77
    }
done
. "$(dirname "$0")/cli_lib.bash"
store=$tmp/store
data=(--data "$store")

printf 0123456789 >"$tmp/ten"
printf 'longer than ten' >"$tmp/longer"

# ---- put, get, stat ----

json '.tag == "t" and .blob == "one" and .offset == 0 and .bytes == 10' \
    "put --json" "$sluice" put "${data[@]}" --json t one "$tmp/ten"
json '.offset == 5 and .bytes == 15' "put --json of a range" \
    "$sluice" put "${data[@]}" --json --offset 5 t one "$tmp/longer"
json '.bytes == 20 and .blob == "one"' "get --json" \
    "$sluice" get "${data[@]}" --json t one "$tmp/back"
[ "$(cat "$tmp/back")" = "01234longer than ten" ] || die "get: other bytes"
json '.offset == 2 and .bytes == 3' "get --json of a range" \
    "$sluice" get "${data[@]}" --json --offset 2 --size 3 t one "$tmp/back"
fails 2 "standard output" "get --json to standard output" \
    "$sluice" get "${data[@]}" --json t one -
json '.size == 20 and .persist == 1 and .version > 0 and .ratio > 0 and
    .score == "auto" and (.tiers[0].kind == "file") and
    (.changed | startswith("20"))' "stat --json" \
    "$sluice" stat "${data[@]}" --json t one
works "stat" "$sluice" stat "${data[@]}" t one
grep -q '^size: 20$' "$out" || die "stat: no size"
json '.tag == "t" and .blobs == 1 and .size == 20 and .id != 0' \
    "stat --json of a tag" "$sluice" stat "${data[@]}" --json t

json '.score == 0.25' "put --score" bash -c '"$1" put "$2" "$3" --score 0.25 \
    t scored "$4" && "$1" stat "$2" "$3" --json t scored' - \
    "$sluice" "${data[@]}" "$tmp/ten"
works "rm of it" "$sluice" rm "${data[@]}" t scored
for score in 1.5 -0.5 nan inf; do
    fails 2 "not in 0 to 1" "put --score $score" \
        "$sluice" put "${data[@]}" --score=$score t x "$tmp/ten"
done
fails 2 "not a number" "put --score of a word" \
    "$sluice" put "${data[@]}" --score=fast t x "$tmp/ten"
fails 2 "0 to 2" "put --persist 3" \
    "$sluice" put "${data[@]}" --persist 3 t x "$tmp/ten"

# ---- ls ----

for i in c a b; do
    works "put $i" "$sluice" put "${data[@]}" t "$i" "$tmp/ten"
done
prints $'a\nb\nc\none' "ls" "$sluice" ls "${data[@]}" t
prints $'10\ta\n10\tb\n10\tc\n20\tone' "ls --long" \
    "$sluice" ls "${data[@]}" --long t
prints $'a\nb' "ls, first page" "$sluice" ls "${data[@]}" --limit 2 t
prints $'c\none' "ls, next page" \
    "$sluice" ls "${data[@]}" --limit 2 --after b t
prints "" "ls, behind the last" "$sluice" ls "${data[@]}" --after one t
json 'length == 1 and .[0].name == "b" and .[0].size == 10' "ls --json" \
    "$sluice" ls "${data[@]}" --json --after a --limit 1 t
json 'length == 1 and .[0].name == "t"' "ls --json of tags" \
    "$sluice" ls "${data[@]}" --json
fails 2 "--limit" "ls --limit 0" "$sluice" ls "${data[@]}" --limit 0

# ---- tag ----

works "tag add" "$sluice" tag add "${data[@]}" second
json '.tag == "second" and .blobs == 0' "tag add again" \
    "$sluice" tag add "${data[@]}" --json second
prints $'second\nt' "tag ls" "$sluice" tag ls "${data[@]}"
json 'map(.name) == ["second", "t"]' "tag ls --json" \
    "$sluice" tag ls "${data[@]}" --json
json '.blobs == 4 and .size == 50' "tag stat --json" \
    "$sluice" tag stat "${data[@]}" --json t
"$sluice" tag ls "${data[@]}" --long >"$tmp/ids"
while IFS=$'\t' read -r id name; do
    json ".id == \"$id\"" "tag stat --json: the id of $name" \
        "$sluice" tag stat "${data[@]}" --json "$name"
    json ".[] | select(.name == \"$name\") | .id == \"$id\"" \
        "tag ls --json: the same" "$sluice" tag ls "${data[@]}" --json
done <"$tmp/ids"
json '.tag == "third" and .blobs == 0' "tag mv --json" \
    "$sluice" tag mv "${data[@]}" --json second third
fails 1 "exists already" "tag mv to a name in use" \
    "$sluice" tag mv "${data[@]}" third t
fails 1 "no such tag" "tag mv of no tag" \
    "$sluice" tag mv "${data[@]}" second x
fails 2 "the tag's name is empty" "tag mv to an empty name" \
    "$sluice" tag mv "${data[@]}" third ''
works "tag mv back" "$sluice" tag mv "${data[@]}" third second
json '.tag == "second"' "tag rm --json" \
    "$sluice" tag rm "${data[@]}" --json second
fails 1 "no such tag" "tag rm again" "$sluice" tag rm "${data[@]}" second
fails 1 "no such tag" "tag stat of none" "$sluice" tag stat "${data[@]}" second
fails 2 "missing" "tag without a word" "$sluice" tag
fails 2 "'frob'" "tag with another word" "$sluice" tag frob "${data[@]}"
fails 2 "missing" "tag add without a name" "$sluice" tag add "${data[@]}"
fails 2 "--long" "tag add with an option of ls" \
    "$sluice" tag add "${data[@]}" --long x

# ---- query ----

works "tag add" "$sluice" tag add "${data[@]}" tea
prints tea "query of tags" "$sluice" query "${data[@]}" '^te'
prints $'t\tone' "query of blobs" "$sluice" query "${data[@]}" '^t$' 'n.$'
json '.total == 3 and (.matches | length) == 3 and
    (.matches | all(.tag == "t" and .size == 10 and .id != 0))' \
    "query --json" "$sluice" query "${data[@]}" --json . '^[abc]$'
json '.total == 3 and (.matches | length) == 2' "query --json --limit" \
    "$sluice" query "${data[@]}" --json --limit 2 . '^[abc]$'
json '.total == 2 and .matches[0].blob == null' "query --json of tags" \
    "$sluice" query "${data[@]}" --json ''
rc=0
"$sluice" query "${data[@]}" --limit 1 t . >"$out" 2>"$err" || rc=$?
if [ "$rc" -ne 0 ] || ! grep -q '1 of 4' "$err"; then
    die "query --limit: no word of the rest"
fi
ok "query --limit says how many there are"
fails 1 "missing closing parenthesis" "query with a bad pattern" \
    "$sluice" query "${data[@]}" 't('
fails 1 "not a regular expression" "query with another" \
    "$sluice" query "${data[@]}" t '*'
fails 1 "query 'nothing' '*'" "query with another, of no tag" \
    "$sluice" query "${data[@]}" nothing '*'
fails 2 "missing" "query without a pattern" "$sluice" query "${data[@]}"

# ---- mv ----

json '.tag == "t" and .blob == "one" and .newtag == "u" and .newblob == "two"' \
    "mv --json" "$sluice" mv "${data[@]}" --json t one u two
works "get of the new name" "$sluice" get "${data[@]}" u two "$tmp/back"
[ "$(cat "$tmp/back")" = "01234longer than ten" ] || die "mv: other bytes"
fails 1 "no such blob" "get of the old name" \
    "$sluice" get "${data[@]}" t one "$tmp/x"
fails 1 "exists already" "mv to a name in use" \
    "$sluice" mv "${data[@]}" t a t b
works "mv --replace" "$sluice" mv "${data[@]}" --replace u two t b
json '.size == 20' "the replaced one" "$sluice" stat "${data[@]}" --json t b
fails 1 "no such blob" "mv of no blob" "$sluice" mv "${data[@]}" t z new z
fails 1 "no such tag" "mv of no tag" "$sluice" mv "${data[@]}" zz z t z
fails 1 "no such tag" "which makes no tag" "$sluice" tag stat "${data[@]}" new
fails 2 "missing" "mv with too few names" "$sluice" mv "${data[@]}" t a t
fails 2 "empty" "mv to an empty name" "$sluice" mv "${data[@]}" t a t ''

# ---- rm ----

json '.tag == "t" and .blob == "a"' "rm --json" \
    "$sluice" rm "${data[@]}" --json t a
fails 1 "no such blob" "rm again" "$sluice" rm "${data[@]}" t a
json '.tag == "t" and .blob == null' "rm --json of a tag" \
    "$sluice" rm "${data[@]}" --json t
