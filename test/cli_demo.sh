#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `sluice demo` and `sluice bench` on the host device. SLUICE names the program.
set -eu

sluice=${SLUICE:-sluice}
command -v "$sluice" >/dev/null || {
    echo "skip - SLUICE names no program"
    exit 77
}
command -v jq >/dev/null || {
    echo "skip - no jq to look at the JSON"
    exit 77
}
. "$(dirname "$0")/cli_lib.bash"
in=$tmp/input

# demo WHAT BLOBS OPTION...: all blobs are verified.
demo() {
    local what=$1 blobs=$2 rc=0
    shift 2
    "$sluice" demo --device host --json "$@" >"$out" 2>"$err" || rc=$?
    [ "$rc" -eq 0 ] || die "$what: exit code $rc"
    [ "$(jq -r '"\(.blobs) \(.verified)"' "$out")" = "$blobs $blobs" ] ||
        die "$what: blobs and verified are not $blobs"
    ok "$what"
}

# A path below DIR of more than 255 bytes is named by its hash, one of more than
# 48 does not fit into a cell.
deep=$in
for _ in 1 2 3 4 5 6; do
    deep=$deep/$(printf 'd%.0s' $(seq 45))
done
mkdir -p "$deep" "$in/sub"
n=0
bytes=0
for size in 0 1 15 16 71 72 4095 4096 4097 65535 65536 65537 131072 1048576; do
    head -c $size /dev/urandom >"$in/sub/file of $size bytes"
    n=$((n + 1))
    bytes=$((bytes + size))
done
head -c 100000 /dev/urandom >"$deep/deep"
head -c 5000 /dev/urandom >"$in/$(printf 'l%.0s' $(seq 60))"
head -c 5000 /dev/urandom >"$in/$(printf 'm%.0s' $(seq 255))"
n=$((n + 3))
bytes=$((bytes + 110000))
ln -s "sub/file of 1 bytes" "$in/link"
ln -s sub "$in/linked directory"

demo "all files come back" $n --input "$in"
[ "$(jq -r .bytes "$out")" = $bytes ] || die "bytes are not $bytes"
ok "links are not followed, bytes are counted"
jq -e '.put_gbs > 0 and .get_gbs > 0 and .put_p50_us > 0 and
    .put_p99_us >= .put_p50_us and .get_p50_us > 0 and
    .get_p99_us >= .get_p50_us and .device != "" and .skipped == 0 and
    (.tiers | length) > 0 and .tiers[0].used > 0' "$out" >/dev/null ||
    die "a figure is missing"
ok "all figures are there"
"$sluice" demo --device host --input "$in" >"$out" 2>"$err"
grep -q "^verified *$n of $n blobs" "$out" || die "the report for people"
[ ! -s "$err" ] || die "a bar where there is no terminal"
ok "the report for people, without a bar"
demo "one worker" $n --input "$in" --workers 1
demo "three workers" $n --input "$in" --workers 3
demo "a directory with slashes behind it" $n --input "$in//"
demo "by a link to the directory" 14 --input "$in/linked directory"

# The arena holds less than the data: the next tiers take the rest.
head -c 20000000 /dev/urandom >"$in/large"
head -c 20000000 /dev/urandom >"$in/large too"
n=$((n + 2))
demo "a RAM tier takes the rest" $n --input "$in" --arena 24m --ram 128m
jq -e '.tiers | any(.kind == "ram" and .used > 0)' "$out" >/dev/null ||
    die "the RAM tier is not used"
ok "the RAM tier is used"
demo "a file tier takes the rest" $n --input "$in" --arena 24m --ram 0 \
    --file "$tmp/tier"
jq -e '.tiers | any(.kind == "file" and .used > 0)' "$out" >/dev/null ||
    die "the file tier is not used"
ok "the file tier is used"
rc=0
"$sluice" demo --device host --input "$in" --arena 24m --ram 0 >"$out" \
    2>"$err" || rc=$?
[ "$rc" -eq 1 ] || die "no tier for the rest: exit code $rc"
grep -q 'no space' "$err" || die "no tier for the rest: no word of space"
ok "without a tier for the rest it fails with no space"

"$sluice" demo --device host --input "$in" --bytes 200k --json >"$out" 2>"$err"
jq -e '.bytes <= 204800 and .blobs > 0 and .verified == .blobs' "$out" \
    >/dev/null || die "--bytes is not kept"
ok "--bytes limits what is loaded"

if [ "$(id -u)" -ne 0 ]; then
    chmod 000 "$in/large"
    "$sluice" demo --device host --input "$in" --json >"$out" 2>"$err"
    jq -e '.skipped == 1 and .verified == .blobs' "$out" >/dev/null ||
        die "an unreadable file"
    grep -qF "$in/large" "$err" || die "the unreadable file is not named"
    chmod 600 "$in/large"
    ok "an unreadable file is named and skipped"
else
    echo "skip - root reads every file: an unreadable one is not tried"
fi

mkdir "$tmp/nothing"
fails 1 "no file" "an empty directory" \
    "$sluice" demo --device host --input "$tmp/nothing"
fails 1 "$tmp/absent" "a missing directory" \
    "$sluice" demo --device host --input "$tmp/absent"
fails 1 "Not a directory" "a file as the directory" \
    "$sluice" demo --device host --input "$0"
fails 1 "cuda:99" "a device that does not exist" \
    "$sluice" demo --device cuda:99 --input "$in"
fails 1 "toaster" "a device of no kind" \
    "$sluice" demo --device toaster --input "$in"
fails 2 "too many" "a surplus argument" "$sluice" demo "$in"
fails 2 "not a number" "a bad number" "$sluice" demo --workers many

# ---- bench: small, only that it runs and what it prints ----

"$sluice" bench all --device host --workers 2 --blobs 256 --ops 512 --json \
    >"$out" 2>"$err" || die "bench all"
[ "$(jq -r '[.[].bench] | join(" ")' "$out")" = \
    "rtt tasks_1 tasks_n put_new put_overwrite get" ] || die "bench names"
jq -e 'all(.[]; .limit > 0 and .value > 0 and .ratio > 0 and .unit != "" and
    .p99 >= .p50 and .p50 > 0 and .workers > 0 and .device != "")' "$out" \
    >/dev/null || die "a figure of bench is missing"
ok "bench prints limit, value, unit, ratio, p50, p99, workers, device"
"$sluice" bench get --device host --blobs 100 --size 64k --warps 3 >"$out" \
    2>"$err" || die "bench get"
grep -q '^get .*ratio' "$out" || die "the report of bench for people"
ok "bench get with other sizes"
"$sluice" bench bulk --device host --ops 2 --size 64k >"$out" 2>"$err" ||
    die "bench bulk"
grep -q '^bulk_get .*ratio' "$out" || die "the report of bench bulk"
ok "bench bulk of fewer blobs than fly"
mkdir "$tmp/disk"
PATH=$tmp/disk "$sluice" bench file --data "$tmp/disk" --size 64m --ms 20 --pairs 2 --json \
    >"$out" 2>"$err" || die "bench file"
grep -Eq 'fio' "$err" || die "bench file does not say that fio is absent"
jq -e 'length == 4 and all(.[]; .value > 0 and .cpu_us > 0 and .limit == null
    and .ratio == null)' "$out" >/dev/null || die "a figure of bench file"
[ -z "$(ls -A "$tmp/disk")" ] || die "bench file leaves its file"
ok "bench file without fio prints its own figures"
touch "$tmp/kept"
fails 1 "exists" "bench on a file that is there" \
    "$sluice" bench file --file "$tmp/kept"
fails 2 "exclude" "bench with a directory and a file" \
    "$sluice" bench file --file "$tmp/new" --data "$tmp"
fails 2 "frob" "an unknown measurement" "$sluice" bench frob
fails 2 "multiple of 16" "a size that is no multiple of 16" \
    "$sluice" bench get --size 17
fails 1 "cuda:99" "bench on a device that does not exist" \
    "$sluice" bench rtt --device cuda:99
