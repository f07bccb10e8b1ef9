# SPDX-License-Identifier: Apache-2.0
# What tests of the command line share; sourced. Needs $sluice; sets $tmp, $out
# and $err, and removes $tmp at the end.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
out=$tmp/stdout
err=$tmp/stderr

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
    [ ! -s "$out" ] || die "$what: standard output is not empty"
    ok "$what"
}

# works WHAT COMMAND...: exit code 0 and nothing on standard error.
works() {
    local what=$1 rc=0
    shift
    "$@" >"$out" 2>"$err" </dev/null || rc=$?
    [ "$rc" -eq 0 ] || die "$what: exit code $rc"
    [ ! -s "$err" ] || die "$what: standard error is not empty"
    ok "$what"
}

# json EXPRESSION WHAT COMMAND...: works, and jq finds the expression true.
json() {
    local expression=$1 what=$2
    shift 2
    works "$what" "$@"
    jq -e "$expression" "$out" >/dev/null ||
        die "$what: not $expression: $(cat "$out")"
}

# prints TEXT WHAT COMMAND...: works, and standard output is TEXT.
prints() {
    local text=$1 what=$2
    shift 2
    works "$what" "$@"
    [ "$(cat "$out")" = "$text" ] || die "$what: printed $(cat "$out")"
}
