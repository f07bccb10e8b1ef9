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
