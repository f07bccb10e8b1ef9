#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check.sh [--long]: builds three trees, runs their tests and the checks of
# tools/, and counts all. The last line is `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

long=0
case ${1:-} in
'') ;;
--long) long=1 ;;
*)
    echo "usage: ./dev check [--long]" >&2
    exit 2
    ;;
esac
export SLUICE_LONG=$long
# Seconds that one test may take before it counts as hung.
test_limit=$((long ? 3600 : 600))

passed=0 failed=0 skipped=0
mkdir -p build

heading() {
    printf '== %s: ' "$1"
    SECONDS=0
}

# Ends a stage that counts as one test, from its exit status and its log.
count_one() {
    case $1 in
    0)
        echo "passed ($SECONDS s)"
        passed=$((passed + 1))
        grep -E 'warning:|is not here' "$2" | sed 's/^/   /'
        ;;
    77)
        echo "skipped ($SECONDS s): $(tail -n 1 "$2")"
        skipped=$((skipped + 1))
        ;;
    *)
        echo "FAILED ($SECONDS s)"
        failed=$((failed + 1))
        tail -n 60 "$2" | sed 's/^/   /'
        ;;
    esac
}

# check NAME COMMAND...: one command is one test.
check() {
    local name=$1 log=build/check.log
    shift
    heading "$name"
    "$@" >"$log" 2>&1
    count_one $? "$log"
}

# A built tree is no test, one that does not build is a failed one.
build() {
    local log=build/$1.log
    heading "build $1"
    if ./dev build "$1" >"$log" 2>&1; then
        echo "done ($SECONDS s)"
        return 0
    fi
    grep -E -A 6 'error|FAILED|Error' "$log" >"$log.errors" || cp "$log" "$log.errors"
    count_one 1 "$log.errors"
    return 1
}

# The thread sanitizer's memory map needs addresses that are not randomised
# too widely (kernels with vm.mmap_rnd_bits above 28).
fixed_addresses() {
    if setarch -R true 2>/dev/null; then
        setarch -R "$@"
    else
        "$@"
    fi
}

# All tests of a tree, each counted.
run_tests() {
    local log=build/$1-tests.log total ok skip number name how
    heading "tests $1"
    fixed_addresses ctest --test-dir "build/$1" -V -j "$(nproc)" \
        --timeout "$test_limit" >"$log" 2>&1
    total=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#' "$log")
    ok=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#.* Passed ' "$log")
    skip=$(grep -cE '^ *[0-9]+/[0-9]+ Test +#.*\*\*\*Skipped' "$log")
    if [ "$total" -eq 0 ]; then
        count_one 1 "$log"
        return
    fi
    passed=$((passed + ok))
    skipped=$((skipped + skip))
    failed=$((failed + total - ok - skip))
    echo "$ok passed, $((total - ok - skip)) failed, $skip skipped ($SECONDS s)"

    # Each test's lines begin with its number: show why one skipped or failed.
    while read -r number name how; do
        echo "   skipped $name: $(sed -n "s/^$number: //p" "$log" |
            grep . | tail -n 1)"
    done < <(numbers "$log" '\*\*\*Skipped')
    while read -r number name how; do
        echo "   FAILED $name: $how"
        sed -n "s/^$number: /      /p" "$log" |
            sed '1,/Test timeout computed/d' | tail -n 100
    done < <(numbers "$log" '\*\*\*[^S]')
}

# Number, name and result of the tests of a ctest log whose result matches.
numbers() {
    grep -E "^ *[0-9]+/[0-9]+ Test +#.*$2" "$1" |
        sed -E 's|^[^#]*#([0-9]+): ([^ ]+) \.*(.*)|\1 \2 \3|'
}

heading set-up
if ! tools/setup.sh >build/setup.log 2>&1; then
    count_one 1 build/setup.log
    echo "$passed passed, $failed failed, $skipped skipped"
    exit 1
fi
echo "done ($SECONDS s)"

check "include direction" tools/check_includes
check "file length" tools/check_length
check "style" tools/check_style
check "manual pages" tools/check_man
check "headers" tools/check_headers
if build dev; then
    run_tests dev
    check "symbols" tools/check_symbols build/dev
    check "dead code" tools/check_dead build/dev
    check "install" tools/check_install build/dev
    check "clang-tidy" tools/check_tidy build/dev
fi
trees=(asan tsan)
if [ $long -eq 1 ]; then
    trees+=(clang)
    ! compgen -G 'test/fuzz_*.c' >/dev/null || trees+=(fuzz)
fi
for tree in "${trees[@]}"; do
    build "$tree" && run_tests "$tree"
done
[ $long -eq 0 ] || check "bundle" ./dev bundle

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
