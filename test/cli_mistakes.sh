#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What goes wrong around `sluice`: closed descriptors, names that would break a
# line, files that are cut. SLUICE names the program.
set -eu

sluice=${SLUICE:-sluice}
command -v "$sluice" >/dev/null || {
    echo "skip - SLUICE names no program"
    exit 77
}
# shellcheck source=test/cli_lib.bash
. "$(dirname "$0")/cli_lib.bash"
store=$tmp/store
data=(--data "$store")
head -c 100000 /dev/urandom >"$tmp/a"
printf 0123456789 >"$tmp/ten"
works "put" "$sluice" put "${data[@]}" t a "$tmp/a"

# ---- standard descriptors that are closed: no file of the store takes them ----

# closed CODE REDIRECTIONS WHAT COMMAND...: the exit code, and a store as it was.
closed() {
    local code=$1 how=$2 what=$3 rc=0
    shift 3
    (
        eval "exec $how"
        exec "$@"
    ) || rc=$?
    [ "$rc" -eq "$code" ] || die "$what: exit code $rc, expected $code"
    [ "$(stat -c %s "$store/lock")" -lt 24 ] || die "$what: it is in the lock"
    works "$what: the store is clean" "$sluice" fsck "${data[@]}"
    works "$what: get" "$sluice" get "${data[@]}" t a "$tmp/back"
    cmp -s "$tmp/a" "$tmp/back" || die "$what: other bytes"
}
refused=$tmp/refused
closed 1 '2>"$refused" >&-' "get into closed output" \
    "$sluice" get "${data[@]}" t a -
grep -q 'Bad file descriptor' "$refused" || die "closed output: no word of it"
closed 1 '2>"$refused" <&- >&-' "ls into closed output and input" \
    "$sluice" ls "${data[@]}"
closed 1 '2>"$refused" <&-' "put of closed input" \
    "$sluice" put "${data[@]}" t b -
grep -q 'Bad file descriptor' "$refused" || die "closed input: no word of it"
closed 1 '<&- >&- 2>&-' "an error with all closed" \
    "$sluice" get "${data[@]}" t absent "$tmp/x"
closed 0 '<&- >&- 2>&-' "put with all closed" \
    "$sluice" put "${data[@]}" -v t b "$tmp/ten"
closed 0 '<&- >&- 2>&-' "get with all closed" \
    "$sluice" get "${data[@]}" t b "$tmp/x"
cmp -s "$tmp/x" "$tmp/ten" || die "get with all closed: other bytes"

# ---- names: an error is one line, and none of it steers the terminal ----

name=$'two\nlines \e[31m\x7f'
fails 1 "blob 'two\\x0alines \\x1b[31m\\x7f' of tag 't': no such blob" \
    "get of a name with control characters" \
    "$sluice" get "${data[@]}" t "$name" "$tmp/x"
fails 2 "'--\\x0a'" "an option with a line end" "$sluice" ls $'--\n'
fails 1 "blob 'zeta ü' of" "get of a name in UTF-8" \
    "$sluice" get "${data[@]}" t 'zeta ü' "$tmp/x"

# A damaged byte: the cause is the end of the line, behind two long names.
long=$(printf 'n%.0s' {1..255})
printf 'bytes-to-find %04986d' 0 >"$tmp/z"
works "put of a long name" "$sluice" put "${data[@]}" "$long" "$long" "$tmp/z"
at=$(grep -abo bytes-to-find "$store/data" | cut -d: -f1)
printf y | dd of="$store/data" bs=1 seek="$at" conv=notrunc status=none
fails 1 "the 5000 bytes at 0 are damaged" "a damaged blob of a long name" \
    "$sluice" get "${data[@]}" "$long" "$long" "$tmp/y"
[ ! -e "$tmp/y" ] || die "a damaged blob: there is an output"
works "rm of it" "$sluice" rm "${data[@]}" "$long"

# ---- outputs ----

ln -s nothing "$tmp/link"
fails 1 "'$tmp/link': a symbolic link to nothing" "get into a link to nothing" \
    "$sluice" get "${data[@]}" t a "$tmp/link"
[ -L "$tmp/link" ] || die "the link to nothing is gone"

# ---- targets ----

fails 1 "no regular file" "target add of a directory" \
    "$sluice" target add "${data[@]}" --path "$tmp" --capacity 1m second
fails 1 "no regular file" "target add of a device" \
    "$sluice" target add "${data[@]}" --path /dev/null --capacity 1m second

# A copy of the store names the same file: who comes second waits for it, as for
# a dead owner, and says so.
works "target add" "$sluice" target add "${data[@]}" --path "$tmp/file" \
    --capacity 1m --score 1 second
works "put on it" "$sluice" put "${data[@]}" --score 1 t there "$tmp/ten"
cp -r "$store" "$tmp/copy"
mkfifo "$tmp/pipe"
"$sluice" get "${data[@]}" t there "$tmp/pipe" & # until the pipe is opened
holder=$!
inode=$(stat -c %i "$tmp/file")
busy=
for _ in $(seq 2000); do
    if grep -q ":$inode " /proc/locks 2>/dev/null; then
        busy=1
        break
    fi
    kill -0 "$holder" 2>/dev/null || break
done
if [ -n "$busy" ]; then
    "$sluice" ls --data "$tmp/copy" >"$out" 2>"$err" &
    waiter=$!
    while kill -0 "$waiter" 2>/dev/null && ! grep -q waiting "$err"; do :; done
    grep -qF "$tmp/file: in use by another runtime, waiting" "$err" ||
        die "a target that is held: no word of the wait"
fi
timeout 60 cat "$tmp/pipe" >"$tmp/back" || die "nothing came from the pipe"
wait "$holder" || die "the process that held the target failed"
cmp -s "$tmp/back" "$tmp/ten" || die "other bytes came from the pipe"
if [ -n "$busy" ]; then
    wait "$waiter" || die "a target that is let go: it is not opened"
    ok "a target that another process has is waited for, with a word"
else
    echo "skip - the lock is not visible: a target that is held is not tried"
fi
cp "$tmp/file" "$tmp/whole"
truncate -s 100 "$tmp/file"
fails 1 "$tmp/file: read of 4096 bytes at 0: the file ends before" \
    "a target whose file was cut" "$sluice" ls "${data[@]}"
cp "$tmp/whole" "$tmp/file"
works "target rm" "$sluice" target rm "${data[@]}" second

# ---- a data file that was cut: one line with file and blob ----

truncate -s 4096 "$store/data"
fails 1 "store/data: the target's file is shorter than the store knows" \
    "a data file that was cut" "$sluice" ls "${data[@]}"
grep -q "blob 'a' of tag 't'" "$err" || die "a cut data file: no blob is named"
ok "it names a blob of it"
