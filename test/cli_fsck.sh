#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `sluice fsck` on stores whose metadata file is damaged in its structure: what
# comes back is counted and compared. SLUICE names the program.
set -eu

sluice=${SLUICE:-sluice}
command -v "$sluice" >/dev/null || {
    echo "skip - SLUICE names no program"
    exit 77
}
# shellcheck source=test/cli_lib.bash
. "$(dirname "$0")/cli_lib.bash"

# A tree of files as the input: long names, so that LMDB has branch pages.
n=40
mkdir "$tmp/in"
for i in $(seq $n); do
    printf 'blob number %d\n' "$i" >"$tmp/in/$i"
done
store=$tmp/store
name() {
    printf 'a-name-that-fills-pages-with-records-so-that-there-are-branches-%0150d' "$1"
}
for i in $(seq $n); do
    "$sluice" put --data "$store" --persist 1 tag "$(name "$i")" "$tmp/in/$i"
done
"$sluice" rm --data "$store" tag "$(name $n)"
n=$((n - 1))
meta=$store/meta/data.mdb
cp -r "$store" "$tmp/sound"

restore() {
    rm -rf "$store"
    cp -r "$tmp/sound" "$store"
}

# pages KIND: numbers of the pages that say so (1 branch, 2 leaf).
pages() {
    local p of
    of=$(($(stat -c %s "$meta") / 4096))
    for p in $(seq 2 $((of - 1))); do
        if [ "$(od -An -tu2 -j$((p * 4096 + 10)) -N2 "$meta" | tr -d ' ')" = "$1" ] &&
            [ "$(od -An -tu8 -j$((p * 4096)) -N8 "$meta" | tr -d ' ')" = "$p" ]; then
            echo "$p"
        fi
    done
}

# spoil PAGE [BYTES]: zeros where the page begins.
spoil() {
    head -c "${2:-4096}" /dev/zero |
        dd of="$meta" bs=4096 seek="$1" conv=notrunc status=none
}

# back WHAT LEAST MOST: a repair, then so many blobs are there, each right.
back() {
    local what=$1 rc=0 count i
    fails 1 "meta/data.mdb" "$what: the store is refused" \
        "$sluice" get --data "$store" tag "$(name 1)" -
    cp "$meta" "$tmp/damaged"
    "$sluice" fsck --data "$store" >"$out" 2>"$err" || rc=$?
    [ "$rc" -eq 1 ] || die "$what: exit code $rc of a check"
    cmp -s "$meta" "$tmp/damaged" || die "$what: a check changed the file"
    rc=0
    "$sluice" fsck --data "$store" --repair >"$out" 2>"$err" || rc=$?
    [ "$rc" -eq 1 ] || die "$what: exit code $rc of a repair"
    grep -q "(mended)" "$out" || die "$what: nothing was mended"
    cmp -s "$meta.damaged-1" "$tmp/damaged" ||
        die "$what: the damaged file is not kept"
    works "$what: clean behind the repair" "$sluice" fsck --data "$store"
    "$sluice" ls --data "$store" tag >"$tmp/names"
    count=$(wc -l <"$tmp/names")
    for i in 1 7; do # the check has compared all of them with their sums
        grep -q "0$i\$" "$tmp/names" || continue
        "$sluice" get --data "$store" tag "$(name $i)" "$tmp/got"
        cmp -s "$tmp/got" "$tmp/in/$i" || die "$what: blob $i is another"
    done
    if [ "$count" -lt "$2" ] || [ "$count" -gt "$3" ]; then
        die "$what: $count blobs of $n came back, expected $2 to $3"
    fi
    ok "$what: $count of $n blobs came back"
}

spoil 0
back "first head" $n $n

restore
spoil 0
spoil 1
back "both heads" $n $n

restore
branches=$(pages 1)
[ -n "$branches" ] || die "the store has no branch page"
for p in $branches; do spoil "$p"; done
back "branch pages" $n $n

restore
for p in $(pages 2); do spoil "$p" 16; done
back "heads of leaf pages" $n $((n + 1)) # the deleted one, too

restore
leaves=$(pages 2 | wc -l)
spoil "$(pages 2 | sed -n "$((leaves / 2))p")"
spoil 0 # so that older pages count, too
back "a leaf page" $((n / 2)) $((n + 1))

restore
truncate -s $(($(stat -c %s "$meta") / 2 + 1000)) "$meta"
back "cut file" 1 $((n + 1))

restore
truncate -s 0 "$meta"
truncate -s 0 "$store/log"
rc=0
"$sluice" fsck --data "$store" --repair >"$out" 2>"$err" || rc=$?
[ "$rc" -eq 1 ] || die "empty file: exit code $rc"
grep -q "nothing of it can be read" "$out" || die "empty file: no word of it"
[ ! -e "$meta.damaged-1" ] || die "empty file: it was replaced"
ok "an empty file is told, and stays"
