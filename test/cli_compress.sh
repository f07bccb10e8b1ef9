#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `sluice compress` and `sluice decompress` against the lz4 tool, both ways and
# with each of its options, and what is damaged or refused.
set -u
sluice=${SLUICE:?path of the built sluice}
command -v jq >/dev/null || {
    echo "skip - no jq to look at the JSON"
    exit 77
}
command -v lz4 >/dev/null || {
    echo "skip - no lz4 tool"
    exit 77
}
. "$(dirname "$0")/cli_lib.bash"
cd "$tmp" || exit 1

# Text, machine code, zeros, random bytes, nothing, and edges of a block.
head -c 3000000 "$sluice" >binary
seq 1 200000 >text
head -c 500000 /dev/zero >zeros
head -c 300000 /dev/urandom >random
cat text zeros random binary >mixed
: >empty
head -c 65536 text >block
head -c 65537 text >block1
head -c 1 text >one
files=(binary text zeros random mixed empty block block1 one)
case ${SLUICE_SANITIZE:-} in # they are slow
thread) files=(mixed empty block1) ;;
?*) files=(mixed empty one block block1) ;;
esac

for file in "${files[@]}"; do
    for option in "" --block-checksum --fast "--page 4096" "--threads 1"; do
        # shellcheck disable=SC2086 # words of the option
        "$sluice" compress -f $option -o a.lz4 "$file" >"$out" 2>"$err" ||
            die "compress $option $file"
        lz4 -t a.lz4 >"$out" 2>"$err" || die "lz4 -t: $option $file"
        lz4 -dc a.lz4 2>"$err" | cmp -s - "$file" ||
            die "lz4 -d: $option $file"
        "$sluice" decompress -f -o back a.lz4 >"$out" 2>"$err" ||
            die "decompress $option $file"
        cmp -s back "$file" || die "decompress gives other bytes: $file"
    done
done
ok "the lz4 tool reads our frames, and so do we"

for file in "${files[@]}"; do
    for option in -1 -9 -12 --fast=5 -B4 -B5 -B6 -B7 -BD "-B4 -BD" -BX \
        --no-frame-crc --content-size "-B4 -BX -BD -9" -l; do
        # shellcheck disable=SC2086
        lz4 -f -q $option "$file" a.lz4 2>"$err" || die "lz4 $option $file"
        "$sluice" decompress -f -o back a.lz4 >"$out" 2>"$err" ||
            die "decompress of lz4 $option $file"
        cmp -s back "$file" || die "other bytes: lz4 $option $file"
    done
done
ok "we read frames of the lz4 tool with each of its options"

lz4 -q <mixed 2>"$err" | "$sluice" decompress - 2>"$err" | cmp -s - mixed ||
    die "decompress in a pipe"
"$sluice" compress - <mixed 2>"$err" | lz4 -d 2>"$err" | cmp -s - mixed ||
    die "compress in a pipe"
ok "both work in pipes"

lz4 -q -f text a.lz4
lz4 -q -f binary b.lz4
cat a.lz4 b.lz4 >both.lz4
"$sluice" decompress both.lz4 >"$out" 2>"$err" || die "two frames"
cat text binary | cmp -s - both || die "two frames: other bytes"
ok "frames one behind the other"

"$sluice" compress --json mixed >"$out" 2>"$err" || die "the report as JSON"
jq -e --argjson n "$(stat -c %s mixed)" --argjson m "$(stat -c %s mixed.lz4)" \
    '.bytes_in == $n and .bytes_out == $m and .ratio > 1 and .seconds > 0 and
    .gbs > 0 and .path != "none" and .blocks > 0 and .pages.zero > 0 and
    .pages.raw > 0 and .pages.lz4 > 0 and (.stages | length) == 8 and
    .stages.read.ns > 0 and .stages.write.ns > 0' "$out" >/dev/null ||
    die "a figure of the report is missing"
ok "the report has all figures"
"$sluice" decompress -f mixed.lz4 >"$out" 2>"$err" || die "the default name"
grep -q '^mixed: .*ratio.*GB/s' "$out" || die "the report for people"
[ ! -s "$err" ] || die "a bar where there is no terminal"
ok "the report for people, without a bar"

# ---- on a device: emulated lanes ----

head -c 200000 text >part
lz4 -q -f -B4 -BI part a.lz4 # the last block is short
json '.path == "gpu" and .why == "" and .stages.kernel.gbs > 0' \
    "a short end is not another path" \
    "$sluice" decompress -f --json --device host -o back a.lz4
cmp -s back part || die "a device: other bytes"
lz4 -q -f -B7 text b.lz4
cat a.lz4 b.lz4 >both.lz4
json '.path == "mixed" and (.why | contains("above 64 KiB")) and
    .stages.cpu.ns > 0 and .stages.kernel.ns > 0 and
    .stages.cpu.gbs == null and .stages.kernel.gbs == null' \
    "two paths: why, and no rate of one" \
    "$sluice" decompress -f --json --device host -o back both.lz4
cat part text | cmp -s - back || die "two paths: other bytes"
"$sluice" decompress -f --device host -o back both.lz4 >"$out" 2>"$err" ||
    die "two paths, for people"
grep -q 'path mixed: ' "$out" || die "two paths, for people: no why"
if grep -q ' cpu \| kernel ' "$out"; then
    die "two paths, for people: a rate of one"
fi
ok "two paths, for people"

# ---- the bar: on a terminal, and wiped ----

# On a terminal that is standard error alone; prints what came there.
cat >terminal.py <<'EOF'
import os, pty, subprocess, sys
mine, its = pty.openpty()
done = subprocess.Popen(sys.argv[1:], stderr=its, stdout=subprocess.DEVNULL)
os.close(its)
text = b""
try:
    while part := os.read(mine, 4096):
        text += part
except OSError:  # the other end is closed
    pass
sys.stdout.buffer.write(text)
sys.exit(done.wait())
EOF
if command -v python3 >/dev/null; then
    python3 terminal.py "$sluice" compress -f -o a.lz4 mixed >bar 2>"$err" ||
        die "compress on a terminal"
    grep -q 'packing  \[=* *\]  *[0-9]* %' bar || die "no bar"
    grep -q '100 %' bar || die "the bar does not end"
    [ "$(tail -c 4 bar)" = $'\r\e[K' ] || die "the bar is not wiped"
    python3 terminal.py "$sluice" decompress -f -o back a.lz4 >bar \
        2>"$err" || die "decompress on a terminal"
    grep -q 'reading  \[=* *\]' bar || die "no bar of decompress"
    ok "a bar on a terminal, wiped at the end"
    python3 terminal.py "$sluice" compress -f -o a.lz4 - <mixed >bar \
        2>"$err" || die "compress of standard input on a terminal"
    # A pipe, not a file.
    # shellcheck disable=SC2002
    cat mixed | python3 terminal.py "$sluice" compress -f -o a.lz4 - >bar \
        2>"$err" || die "compress of a pipe on a terminal"
    [ ! -s bar ] || die "a bar without a size"
    ok "no bar of a pipe, whose size nobody knows"
else
    echo "skip - no python3: the bar on a terminal is not tried"
fi

# ---- refused ----

fails 1 "exists already" "an output that is there" "$sluice" compress mixed
fails 1 "exists already" "an output that is there, reading" \
    "$sluice" decompress mixed.lz4
fails 1 "No such file" "an input that is not there" \
    "$sluice" compress -o none nowhere
fails 2 "does not end in .lz4" "a name without .lz4" "$sluice" decompress text
fails 2 "--page" "a page that is too large" "$sluice" compress --page 128k text
fails 2 "multiple of 64" "a page of 100 bytes" \
    "$sluice" compress --page 100 text
fails 2 "--json" "JSON and data to one place" \
    "$sluice" compress --json -o - text
fails 1 '"cpu"' "a device that is none" \
    "$sluice" compress --device bogus -o none text
fails 1 "cuda:99" "a device that does not exist" \
    "$sluice" compress --device cuda:99 -o none text
fails 2 "missing" "no file" "$sluice" compress
fails 2 "'-z'" "an unknown letter" "$sluice" compress -z text

# ---- damaged: one line, and nothing under the final name ----

damaged() {
    fails 1 "$1" "$2" "$sluice" decompress -o none "$3"
    [ ! -e none ] || die "$2: there is an output"
    [ -z "$(ls -A | grep '\.part$')" ] || die "$2: a part is left"
}
lz4 -q -f --content-size text good.lz4
n=$(stat -c %s good.lz4)
head -c $((n - 1)) good.lz4 >bad.lz4
damaged "ends inside of a frame" "a frame without its last byte" bad.lz4
head -c 10 good.lz4 >bad.lz4
damaged "ends inside of a frame" "a frame that ends in its header" bad.lz4
damaged "not a valid LZ4 frame" "another kind of file" text
damaged "no LZ4 frame" "an empty file" empty
{
    head -c $((n - 4)) good.lz4
    printf 'oops'
} >bad.lz4
damaged "checksum of the frame's content" "a wrong checksum" bad.lz4
{
    cat good.lz4
    echo more
} >bad.lz4
damaged "other bytes follow" "bytes behind the last frame" bad.lz4
lz4 -q -f -BX -B4 random bad.lz4
printf '\377\000\377' | dd of=bad.lz4 bs=1 seek=1000 conv=notrunc 2>/dev/null
damaged "checksum of block" "a wrong checksum of a block" bad.lz4
if lz4 -q -f -D text block1 dict.lz4 2>"$err"; then
    # Only frames of the library's users name a dictionary's id.
    printf '\x04\x22\x4d\x18\x61\x40\x01\x00\x00\x00\x00' >bad.lz4
    damaged "dictionary" "a frame that names a dictionary" bad.lz4
fi

# A file that was there stays whole when the new one fails.
cp text kept
fails 1 "ends inside" "a failure with --force" \
    "$sluice" decompress -f -o kept <(head -c 1000 good.lz4)
cmp -s kept text || die "the old file is changed"
ok "a failure leaves the old file as it was"

# ---- a signal: the part is removed ----

# starts OUT: a compress that waits for its input; what it writes to is there.
mkfifo pipe
starts() {
    "$sluice" compress -o "$1" - <pipe >"$out" 2>"$err" &
    pid=$!
    exec 9>pipe
    for _ in $(seq 100000); do
        [ -z "$(ls -A | grep '\.part$')" ] || break
    done
    [ -n "$(ls -A | grep '\.part$')" ] || die "there is no part"
}
starts stopped
kill -TERM $pid
exec 9>&-
wait $pid
[ $? -ne 0 ] || die "it was not stopped"
[ -z "$(ls -A | grep '\.part$')" ] || die "the part is left"
[ ! -e stopped ] || die "there is an output"
ok "a signal leaves nothing behind"
trap '' HUP
starts kept_on
trap - HUP
kill -HUP $pid
kill -INT $pid # a shell's background jobs ignore it
cat text >&9
exec 9>&-
wait $pid || die "a signal that is ignored stopped it"
lz4 -dc kept_on 2>"$err" | cmp -s - text || die "other bytes after a signal"
ok "a signal that is ignored stays so"

# ---- bench: small, only that it runs and what it prints ----

"$sluice" bench pages --device cpu --bytes 1m --json >"$out" 2>"$err" ||
    die "bench pages"
jq -e '(.sets | length) == 4 and all(.sets[]; .liblz4.ratio > 1 and
    .cpu.compress.median > 0 and .cpu.decompress.min > 0 and
    .cpu.relative_ratio > 0.9)' "$out" >/dev/null ||
    die "a figure of bench pages is missing"
"$sluice" bench pages --device cpu --bytes 1m --page 64k text binary \
    >"$out" 2>"$err" || die "bench pages of files"
grep -q '^text$' "$out" || die "the report of bench pages for people"
ok "bench pages prints speed and ratio of each set"
fails 2 "multiple of 64" "bench with a page of 100 bytes" \
    "$sluice" bench pages --page 100
fails 1 "nowhere" "bench of a file that is not there" \
    "$sluice" bench pages nowhere
fails 1 "it is empty" "bench of an empty file" "$sluice" bench pages empty
