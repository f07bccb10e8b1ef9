#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The store commands of `sluice`, over several invocations with real files.
# SLUICE names the program.
set -eu

sluice=${SLUICE:-sluice}
command -v "$sluice" >/dev/null || {
    echo "skip - SLUICE names no program"
    exit 77
}
tmp=$(mktemp -d)
mounted=
cleanup() {
    [ -z "$mounted" ] || umount "$mounted" || :
    rm -rf "$tmp"
}
trap cleanup EXIT
store=$tmp/store
err=$tmp/stderr
out=$tmp/stdout

ok() {
    echo "ok - $1"
}

die() {
    echo "not ok - $1"
    echo "  standard error was:"
    sed 's/^/  | /' "$err"
    exit 1
}

# fails CODE TEXT WHAT COMMAND...: the exit code, exactly one line on standard
# error that holds TEXT, nothing on standard output.
fails() {
    local code=$1 text=$2 what=$3 rc=0
    shift 3
    "$@" >"$out" 2>"$err" </dev/null || rc=$?
    [ "$rc" -eq "$code" ] || die "$what: exit code $rc, expected $code"
    [ "$(wc -l <"$err")" -eq 1 ] || die "$what: not one line"
    grep -qF -- "$text" "$err" || die "$what: the line lacks '$text'"
    grep -q '^sluice: ' "$err" || die "$what: the line lacks 'sluice: '"
    [ ! -s "$out" ] || die "$what: standard output is not empty"
    ok "$what"
}

# works WHAT COMMAND...: exit code 0 and nothing on standard error.
works() {
    local what=$1 rc=0
    shift
    "$@" >"$out" 2>"$err" || rc=$?
    [ "$rc" -eq 0 ] || die "$what: exit code $rc"
    [ ! -s "$err" ] || die "$what: standard error is not empty"
    ok "$what"
}

same() {
    cmp -s "$1" "$2" || die "$3: files differ"
    ok "$3"
}

# ---- general ----

works "--help" "$sluice" --help
works "--version" "$sluice" --version
for c in put get rm ls stat query demo bench doctor; do
    works "$c --help" "$sluice" $c --help
done
fails 2 "no command" "no command" "$sluice"
fails 2 "'frob'" "unknown command" "$sluice" frob
fails 2 "'--frob'" "unknown option before a command" "$sluice" --frob
fails 2 "'--frob'" "unknown option" "$sluice" ls --frob
fails 2 "'-z'" "unknown letter" "$sluice" ls -z
fails 2 "--data" "missing --data" "$sluice" ls
fails 2 "needs a value" "option without its value" "$sluice" ls --data
fails 2 "takes no value" "flag with a value" \
    "$sluice" ls --json=1 --data "$store"
fails 2 "missing" "too few arguments" "$sluice" put --data "$store" t b
fails 2 "too many" "too many arguments" "$sluice" ls --data "$store" t b
fails 2 "not a size" "bad size" \
    "$sluice" put --data "$store" --offset 4q t b "$0"
fails 2 "not a size" "negative size" \
    "$sluice" put --data "$store" --offset -1 t b "$0"
fails 2 "not a size" "size beyond 64 bits" \
    "$sluice" put --data "$store" --offset 99999999999g t b "$0"
fails 2 "0 to 2" "bad persistence level" \
    "$sluice" put --data "$store" --persist 3 t b "$0"
fails 2 "empty" "empty name" "$sluice" put --data "$store" t "" "$0"
long=$(printf 'n%.0s' $(seq 256))
fails 2 "longer than 255" "name too long" \
    "$sluice" put --data "$store" t "$long" "$0"
[ ! -e "$store" ] || die "wrong usage created a store"
ok "wrong usage creates nothing"
if [ -c /dev/full ]; then
    rc=0
    "$sluice" --help >/dev/full 2>"$err" || rc=$?
    [ "$rc" -eq 1 ] || die "full standard output: exit code $rc"
    ok "full standard output is a failure"
fi

# ---- what cannot be read changes nothing ----

fails 1 "$tmp/absent" "put of a missing file" \
    "$sluice" put --data "$store" t b "$tmp/absent"
fails 1 "'$tmp'" "put of a directory" "$sluice" put --data "$store" t b "$tmp"
for c in "get t b $tmp/o" "rm t" "rm t b" "ls" "ls t" "stat t" "stat t b"; do
    # Words are meant to be split.
    # shellcheck disable=SC2086
    set -- $c
    cmd=$1
    shift
    fails 1 "$store" "$c without a store" "$sluice" "$cmd" --data "$store" "$@"
done
[ ! -e "$store" ] || die "a store was created"
ok "nothing of these creates a store"
: >"$tmp/file"
fails 1 "Not a directory" "a file as the store" "$sluice" ls --data "$tmp/file"
mkdir "$tmp/foreign"
echo mine >"$tmp/foreign/notes"
fails 1 "$tmp/foreign" "ls of a foreign directory" \
    "$sluice" ls --data "$tmp/foreign"
fails 1 "$tmp/foreign" "put into a foreign directory" \
    "$sluice" put --data "$tmp/foreign" t b "$0"
[ "$(ls -A "$tmp/foreign")" = notes ] || die "the foreign directory changed"
ok "a foreign directory stays as it is"
fails 1 "$tmp/no/store" "put below a missing directory" \
    "$sluice" put --data "$tmp/no/store" t b "$0"

# ---- put and get ----

head -c 100000 /dev/urandom >"$tmp/a"
works "put" "$sluice" put --data "$store" tag one "$tmp/a"
works "get" "$sluice" get --data "$store" tag one "$tmp/a.back"
same "$tmp/a" "$tmp/a.back" "get returns what was put"
works "get to standard output" "$sluice" get --data "$store" tag one -
same "$tmp/a" "$out" "standard output holds the bytes"
works "put from standard input" \
    "$sluice" put --data "$store" tag two - <"$tmp/a"
works "get it" "$sluice" get --data "$store" tag two "$tmp/b.back"
same "$tmp/a" "$tmp/b.back" "standard input came whole"

head -c 70000 "$tmp/a" | tail -c 20000 >"$tmp/range"
works "get of a range" "$sluice" get --data "$store" --offset 50000 \
    --size 20000 tag one "$tmp/range.back"
same "$tmp/range" "$tmp/range.back" "the range is right"
tail -c +1025 "$tmp/a" >"$tmp/range"
works "get to the end" \
    "$sluice" get --data "$store" --offset 1k tag one "$tmp/range.back"
same "$tmp/range" "$tmp/range.back" "suffix k, and to the end"
works "get of 0 bytes at the end" \
    "$sluice" get --data "$store" --offset 100000 tag one "$tmp/none"
if [ ! -f "$tmp/none" ] || [ -s "$tmp/none" ]; then
    die "not an empty file"
fi
ok "0 bytes are an empty file"
fails 1 "100000 bytes" "range past the end" \
    "$sluice" get --data "$store" --offset 99999 --size 2 tag one "$tmp/x"
fails 1 "100000 bytes" "offset past the end" \
    "$sluice" get --data "$store" --offset 100001 tag one "$tmp/x"
fails 1 "100000 bytes" "offset plus size overflows" "$sluice" get \
    --data "$store" --offset 5 --size 18446744073709551615 tag one "$tmp/x"
fails 1 "'absent' of tag 'tag': no such blob" "get of a missing blob" \
    "$sluice" get --data "$store" tag absent "$tmp/x"
fails 1 "'absent': no such tag" "get of a missing tag" \
    "$sluice" get --data "$store" absent one "$tmp/x"
[ ! -e "$tmp/x" ] || die "a failed get left a file"
ok "a failed get leaves no file"
fails 1 "'$tmp/no/file'" "get to a missing directory" \
    "$sluice" get --data "$store" tag one "$tmp/no/file"
fails 1 "'$tmp'" "get to a directory" \
    "$sluice" get --data "$store" tag one "$tmp"
works "get to a device" "$sluice" get --data "$store" tag one /dev/null
[ -c /dev/null ] || die "/dev/null was replaced"
ok "a device is written, not replaced"
echo old >"$tmp/target"
chmod 640 "$tmp/target"
ln -s target "$tmp/link"
works "get over a symbolic link" \
    "$sluice" get --data "$store" tag one "$tmp/link"
same "$tmp/a" "$tmp/target" "the link's target was replaced"
[ -L "$tmp/link" ] || die "the link is gone"
[ "$(stat -c %a "$tmp/target")" = 640 ] || die "the mode is gone"
ok "link and mode stay"
if [ -c /dev/full ]; then
    fails 1 "/dev/full" "get to a full device" \
        "$sluice" get --data "$store" tag one /dev/full
fi
[ -z "$(find "$tmp" -name '*.part')" ] || die "a temporary file is left"
ok "no temporary file is left"

# ---- ranges, replacing, empty ----

printf 'WXYZ' >"$tmp/w"
works "put at an offset" \
    "$sluice" put --data "$store" --offset 10 tag one "$tmp/w"
cp "$tmp/a" "$tmp/want"
dd if="$tmp/w" of="$tmp/want" bs=1 seek=10 conv=notrunc status=none
works "get it" "$sluice" get --data "$store" tag one "$tmp/got"
same "$tmp/want" "$tmp/got" "a range is overwritten, the rest stays"
works "put past the end" \
    "$sluice" put --data "$store" --offset 100k tag one "$tmp/w"
dd if="$tmp/w" of="$tmp/want" bs=1 seek=102400 conv=notrunc status=none
works "get it" "$sluice" get --data "$store" tag one "$tmp/got"
same "$tmp/want" "$tmp/got" "the gap reads as zeros"
works "put of a shorter file" "$sluice" put --data "$store" tag one "$tmp/w"
works "get it" "$sluice" get --data "$store" tag one "$tmp/got"
same "$tmp/w" "$tmp/got" "a file becomes the whole blob"
: >"$tmp/empty"
works "put of an empty file" \
    "$sluice" put --data "$store" tag empty "$tmp/empty"
works "get it" "$sluice" get --data "$store" tag empty "$tmp/got"
same "$tmp/empty" "$tmp/got" "a blob of 0 bytes comes back"
for level in 0 1 2; do
    works "put with persistence $level" "$sluice" put --data "$store" \
        --persist $level tag "level $level" "$tmp/a"
    works "get it" "$sluice" get --data "$store" tag "level $level" "$tmp/got"
    same "$tmp/a" "$tmp/got" "persistence $level came back"
done

# ---- a file of several pieces: over 64 MiB, and exactly two of them ----

head -c 73400833 /dev/urandom >"$tmp/big"
works "put with level and score" "$sluice" put --data "$store" --persist 2 \
    --score 0.25 big b "$tmp/w"
works "put of 70 MiB and a byte" "$sluice" put --data "$store" big b "$tmp/big"
works "stat of it" "$sluice" stat --data "$store" big b
if ! grep -q '^persist: 2$' "$out" || ! grep -q '^score: 0.250$' "$out"; then
    die "a put of pieces: other level or score: $(cat "$out")"
fi
ok "level and score stay"
works "ls" "$sluice" ls --data "$store" big
[ "$(cat "$out")" = b ] || die "a put of pieces leaves another blob"
works "get it" "$sluice" get --data "$store" big b "$tmp/big.back"
same "$tmp/big" "$tmp/big.back" "70 MiB and a byte come back"
head -c 134217728 /dev/zero | tr '\0' 'z' >"$tmp/big"
works "put of two whole pieces" \
    "$sluice" put --data "$store" big b - <"$tmp/big"
works "get it" "$sluice" get --data "$store" big b "$tmp/big.back"
same "$tmp/big" "$tmp/big.back" "two whole pieces come back"
works "put of two coded pieces" "$sluice" put --data "$store" --persist 2 \
    --codec lz4 big c "$tmp/big"
works "stat of it" "$sluice" stat --data "$store" big c
if ! grep -q '^persist: 2$' "$out" || ! grep -q '^codec: lz4$' "$out"; then
    die "a put of pieces: other level or codec: $(cat "$out")"
fi
ok "level and codec are those asked for"

# broken TEXT WHAT OPTION...: a put of standard input, of which the second piece
# cannot be read: memory behind the end of a file. Sets lines.
broken() {
    local rc=0 text=$1 what=$2
    shift 2
    python3 - "$tmp/cut" "$sluice" put --data "$store" "$@" big b - \
        >"$out" 2>"$err" <<'EOF' || rc=$?
import ctypes, mmap, os, subprocess, sys
file = open(sys.argv[1], "w+b")
file.truncate(65 << 20)
memory = mmap.mmap(file.fileno(), 65 << 20)
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
file.truncate((64 << 20) + 4096)
fd = os.open("/proc/self/mem", os.O_RDONLY)
os.lseek(fd, at, os.SEEK_SET)
os._exit(subprocess.call(sys.argv[2:], stdin=fd))
EOF
    [ "$rc" -eq 1 ] || die "$what: exit code $rc"
    grep -qF "$text" "$err" || die "$what: no word of '$text'"
    works "$what: ls" "$sluice" ls --data "$store" big
    [ "$(cat "$out")" = $'b\nc' ] || die "$what: other blobs: $(cat "$out")"
    works "$what: get" "$sluice" get --data "$store" big b "$tmp/big.back"
}
if command -v python3 >/dev/null && [ -r /proc/self/mem ]; then
    broken "Input/output error" "a put that breaks off"
    same "$tmp/big" "$tmp/big.back" "it leaves the blob as it was"
    broken "67108864 bytes of '-' are stored" "a put at 0 that breaks off" \
        --offset 0
    head -c 67108864 /dev/zero | cmp -s -n 67108864 - "$tmp/big.back" ||
        die "at an offset: the bytes that are said to be stored are not"
    ok "at an offset it says what is stored"
else
    echo "skip - no python3: a put that breaks off is not tried"
fi
works "rm of the tag" "$sluice" rm --data "$store" big
rm -f "$tmp/cut"
rm "$tmp/big" "$tmp/big.back"

# ---- ls, stat, rm ----

works "put of a name with spaces and ümlauts" \
    "$sluice" put --data "$store" names "zeta ü" "$tmp/w"
for n in b a Z a.b -x; do
    works "put $n" "$sluice" put --data "$store" names -- "$n" "$tmp/w"
done
long=$(printf 'n%.0s' $(seq 255))
works "put of a name of 255 bytes" \
    "$sluice" put --data "$store" names "$long" "$tmp/w"
works "ls" "$sluice" ls --data "$store" names
printf '%s\n' -x Z a a.b b "$long" "zeta ü" >"$tmp/want"
same "$tmp/want" "$out" "one name a line, sorted bytewise"
works "ls of tags" "$sluice" ls --data "$store"
printf '%s\n' names tag >"$tmp/want"
same "$tmp/want" "$out" "tags are listed"
fails 1 "no such tag" "ls of a missing tag" "$sluice" ls --data "$store" absent
if command -v jq >/dev/null; then
    works "ls --json" "$sluice" ls --json --data "$store" names
    [ "$(jq -r '[.[].size] | add' "$out")" = 28 ] || die "sizes of ls --json"
    ok "ls --json has names and sizes"
    works "stat --json" "$sluice" stat --json --data "$store" tag "level 2"
    [ "$(jq -r '"\(.size) \(.persist) \(.blob)"' "$out")" = \
        "100000 2 level 2" ] || die "fields of stat --json"
    ok "stat --json has size, persistence and name"
    works "stat --json of a tag" "$sluice" stat --json --data "$store" names
    [ "$(jq -r '"\(.blobs) \(.size)"' "$out")" = "7 28" ] ||
        die "fields of stat --json of a tag"
    ok "stat of a tag has its blobs and bytes"
else
    echo "skip - no jq: the JSON is not looked at"
fi
works "stat" "$sluice" stat --data "$store" tag one
grep -q '^size: 4$' "$out" || die "stat lacks the size"
ok "stat prints the size"
fails 1 "no such blob" "stat of a missing blob" \
    "$sluice" stat --data "$store" tag absent
works "rm" "$sluice" rm --data "$store" tag one
fails 1 "no such blob" "get of a deleted blob" \
    "$sluice" get --data "$store" tag one "$tmp/x"
fails 1 "no such blob" "rm of a deleted blob" \
    "$sluice" rm --data "$store" tag one
works "the others stay" "$sluice" get --data "$store" tag two "$tmp/got"
works "rm of a tag" "$sluice" rm --data "$store" tag
fails 1 "no such tag" "ls of a deleted tag" "$sluice" ls --data "$store" tag
fails 1 "no such tag" "rm of a deleted tag" "$sluice" rm --data "$store" tag

# ---- a store that is busy, or of another version ----

mkfifo "$tmp/pipe"
"$sluice" get --data "$store" names a "$tmp/pipe" 2>"$tmp/holder" &
holder=$!
# The first process holds the store until its pipe is opened; it has it once
# the lock is listed, which is polled for.
busy=
for _ in $(seq 2000); do
    inode=$(stat -c %i "$store/lock" 2>/dev/null || echo none)
    if grep -q ":$inode " /proc/locks 2>/dev/null; then
        busy=1
        break
    fi
    kill -0 "$holder" 2>/dev/null || break
done
if [ -n "$busy" ]; then
    fails 1 "$store" "a store that another process has" \
        "$sluice" ls --data "$store"
else
    echo "skip - the lock is not visible: a busy store is not tried"
fi
timeout 60 cat "$tmp/pipe" >"$tmp/got" || die "nothing came from the pipe"
wait "$holder" || die "the process that held the store failed"
same "$tmp/w" "$tmp/got" "a pipe is written as it is"

cp "$store/format" "$tmp/format"
echo "sluice-store 999" >"$store/format"
fails 1 "version" "a store of another version" "$sluice" ls --data "$store"
echo "nonsense" >"$store/format"
fails 1 "$store" "a damaged format file" "$sluice" ls --data "$store"
cp "$tmp/format" "$store/format"
works "the store is unharmed" "$sluice" get --data "$store" names a "$tmp/got"
same "$tmp/w" "$tmp/got" "its bytes too"

# ---- codecs ----

for i in $(seq 2000); do echo "line $i of a text that repeats itself"; done >"$tmp/a"
for codec in none lz4 zstd:fast zlib:best dynamic; do
    works "put --codec $codec" \
        "$sluice" put --data "$store" --codec "$codec" coded "$codec" "$tmp/a"
    works "get of $codec" \
        "$sluice" get --data "$store" coded "$codec" "$tmp/got"
    same "$tmp/a" "$tmp/got" "$codec gives the same bytes"
done
"$sluice" stat --data "$store" coded lz4 >"$out"
grep -q '^codec: lz4$' "$out" || die "stat names the codec"
ok "stat names the codec"
fails 2 "unknown codec" "an unknown codec" \
    "$sluice" put --data "$store" --codec zip coded x "$tmp/a"

# ---- doctor ----

works "doctor" "$sluice" doctor
works "doctor --data" "$sluice" doctor --data "$tmp"
fails 1 "$tmp/absent" "doctor of a missing directory" \
    "$sluice" doctor --data "$tmp/absent"
if command -v jq >/dev/null; then
    works "doctor --json" "$sluice" doctor --json --data "$tmp"
    jq -e '.devices | any(.device == "host" and .usable)' "$out" >/dev/null ||
        die "doctor lacks the host device"
    ok "doctor has the host device"
fi

# ---- a full disk ----

mkdir "$tmp/small"
if [ "$(id -u)" -eq 0 ] &&
    mount -t tmpfs -o size=16m tmpfs "$tmp/small" 2>/dev/null; then
    mounted=$tmp/small
    head -c 1000000 /dev/urandom >"$tmp/a"
    works "put on a small disk" \
        "$sluice" put --data "$mounted/store" t small "$tmp/a"
    head -c 40000000 /dev/zero >"$tmp/b"
    rc=0
    "$sluice" put --data "$mounted/store" t large "$tmp/b" 2>"$err" || rc=$?
    [ "$rc" -eq 1 ] || die "put on a full disk: exit code $rc"
    grep -q 'no space\|No space' "$err" || die "no word of the space"
    ok "put on a full disk fails and says so"
    works "what was stored is there" \
        "$sluice" get --data "$mounted/store" t small "$tmp/got"
    same "$tmp/a" "$tmp/got" "and whole"
    fails 1 "no such blob" "the failed blob is not" \
        "$sluice" get --data "$mounted/store" t large "$tmp/x"
    # No room for the log, which grows by 1 MiB: the command's line says so.
    full() {
        local what=$1 rc=0
        shift
        truncate -s 0 "$mounted/store/log"
        cat /dev/zero >"$mounted/fill" 2>/dev/null || :
        "$@" >"$out" 2>"$err" || rc=$?
        rm "$mounted/fill"
        [ "$rc" -eq 1 ] || die "$what: exit code $rc"
        grep -q "^sluice: $2: tag '.*/log: " "$err" || die "$what: no cause"
        ok "$what"
    }
    full "tag mv on a full disk" \
        "$sluice" tag mv --data "$mounted/store" t u
    full "put into a new tag on a full disk" \
        "$sluice" put --data "$mounted/store" new small "$tmp/a"
    works "ls behind it" "$sluice" ls --data "$mounted/store"
    [ "$(cat "$out")" = t ] || die "a full disk: other tags: $(cat "$out")"
else
    echo "skip - no right to mount a small disk: a full one is not tried"
fi
