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
works "add" "$sluice" target add "${data[@]}" --path "$tmp/second" \
    --capacity 64m --score 0.6 second
json 'any(.[]; .name == "second" and .kind == "file" and .number == 1 and
    .score == 0.6 and .capacity == 67108864 and .state == "active")' \
    "ls --json" "$sluice" target ls "${data[@]}" --json
works "ls" "$sluice" target ls "${data[@]}"
works "score" "$sluice" target score "${data[@]}" --score 0.3 second
json '.score == 0.3' "stat --json" \
    "$sluice" target stat "${data[@]}" --json second
works "score, measured" "$sluice" target score "${data[@]}" --score -1 second
json '.bandwidth == 0 and .score > 0' "the score stays, figures do not" \
    "$sluice" target stat "${data[@]}" --json second
works "score" "$sluice" target score "${data[@]}" --score 1 second
works "put on it" "$sluice" put "${data[@]}" --persist 2 t blob "$tmp/ten"
fails 1 "no such target" "stat of none" "$sluice" target stat "${data[@]}" none
fails 1 "no such target" "rm of none" "$sluice" target rm "${data[@]}" none
fails 1 "score outside" "bad score" \
    "$sluice" target score "${data[@]}" --score 1.5 second
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
works "rm" "$sluice" target rm "${data[@]}" second
[ ! -e "$tmp/second" ] || die "rm: the file is still there"
prints 0123456789 "get what lay on it" \
    "$sluice" get "${data[@]}" t blob -
