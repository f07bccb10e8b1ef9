#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `sluice target` over several invocations. SLUICE names the program.
set -eu

sluice=${SLUICE:-sluice}
command -v "$sluice" >/dev/null || {
    echo "skip - SLUICE names no program"
    exit 77
}
command -v jq >/dev/null || {
    echo "skip - jq is not installed"
    exit 77
}
. "$(dirname "$0")/cli_lib.bash"
data=(--data "$tmp/store")
printf '0123456789' >"$tmp/ten"

works "put" "$sluice" put "${data[@]}" --persist 1 t before "$tmp/ten"
json '.name == "second" and .capacity == 67108864' "add --json" \
    "$sluice" target add "${data[@]}" --path "$tmp/second" \
    --capacity 64m --score 0.6 --json second
json 'any(.[]; .name == "second" and .kind == "file" and .number == 1 and
    .score == 0.6 and .capacity == 67108864 and .state == "active")' \
    "ls --json" "$sluice" target ls "${data[@]}" --json
works "ls" "$sluice" target ls "${data[@]}"
json '.score == 0.3' "score --json" \
    "$sluice" target score "${data[@]}" --score 0.3 --json second
json '.score == 0.3' "stat --json" \
    "$sluice" target stat "${data[@]}" --json second
works "score, measured" "$sluice" target score "${data[@]}" --score -1 second
json '.bandwidth == 0 and .score > 0' "the score stays, figures do not" \
    "$sluice" target stat "${data[@]}" --json second
works "score" "$sluice" target score "${data[@]}" --score 1 second
works "put on it" "$sluice" put "${data[@]}" --persist 2 t blob "$tmp/ten"
fails 1 "no such target" "stat of none" "$sluice" target stat "${data[@]}" none
fails 1 "no such target" "rm of none" "$sluice" target rm "${data[@]}" none
for score in 1.5 -0.5 nan; do
    fails 2 "is not -1 and not in 0 to 1" "score $score" \
        "$sluice" target score "${data[@]}" --score=$score second
done
fails 1 "exists already" "add again" "$sluice" target add "${data[@]}" \
    --path "$tmp/third" --capacity 1m second
fails 1 "file has content" "add of a file with content" \
    "$sluice" target add "${data[@]}" --path "$tmp/ten" --capacity 1m third
fails 2 "needs --path" "add without a path" \
    "$sluice" target add "${data[@]}" third
fails 2 "unknown verb" "unknown verb" "$sluice" target list "${data[@]}"

mv "$tmp/second" "$tmp/away"
fails 1 "No such file" "its file is gone" "$sluice" target ls "${data[@]}" \
    --json
mv "$tmp/away" "$tmp/second"
json '. == {"name": "second"}' "rm --json" \
    "$sluice" target rm "${data[@]}" --json second
[ ! -e "$tmp/second" ] || die "rm: the file is still there"
prints 0123456789 "get what lay on it" \
    "$sluice" get "${data[@]}" t blob -

works "add third" "$sluice" target add "${data[@]}" --path "$tmp/third" \
    --capacity 4m --score 1 third
works "put on third" "$sluice" put "${data[@]}" --score 1 --persist 2 t there \
    "$tmp/ten"
fails 2 "needs '--repair'" "drop without repair" \
    "$sluice" fsck "${data[@]}" --drop third
fails 2 "not in the list" "drop of no target" \
    "$sluice" fsck "${data[@]}" --repair --drop second
fails 2 "is not dropped" "drop of one that is there" \
    "$sluice" fsck "${data[@]}" --repair --drop third
rm "$tmp/third"
fails 1 "$tmp/third" "the lost file is named" "$sluice" ls "${data[@]}" t
rc=0
"$sluice" fsck "${data[@]}" --repair --drop third >"$out" 2>"$err" || rc=$?
[ "$rc" -eq 1 ] || die "drop: exit code $rc"
grep -q "blob 'there'.*(mended)" "$out" || die "drop: its blob is not named"
works "clean behind it" "$sluice" fsck "${data[@]}"
prints 0123456789 "get of another blob" "$sluice" get "${data[@]}" t blob -
fails 1 "no such blob" "get of what it held" \
    "$sluice" get "${data[@]}" t there -

# ---- fsck --json ----

json '.problems == [] and .problem_count == 0 and .repaired == 0 and
    .tags == 1 and .blobs == 2 and .bytes == 20 and .extents == 2' \
    "fsck --json" "$sluice" fsck "${data[@]}" --json
lost=$tmp/$'lost-\xff' # no UTF-8
works "add lost" "$sluice" target add "${data[@]}" --path "$lost" \
    --capacity 4m --score 1 lost
works "put on lost" "$sluice" put "${data[@]}" --score 1 --persist 2 t there \
    "$tmp/ten"
rm "$lost"
rc=0
"$sluice" fsck "${data[@]}" --json >"$out" 2>"$err" || rc=$?
[ "$rc" -eq 1 ] || die "fsck --json of a lost file: exit code $rc"
jq -e '(.problems | length) == .problem_count and .problem_count > 0 and
    any(.problems[]; (.text | contains("lost-\\xff")) and
        (.repaired | not) and .code != "")' "$out" >/dev/null ||
    die "fsck --json: a problem is missing: $(cat "$out")"
ok "fsck --json has a problem whose text is no UTF-8"
