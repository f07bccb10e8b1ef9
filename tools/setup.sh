#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what build, tests and checks need, on Debian 12. Quick when all is
# there. SLUICE_NO_SETUP=1 skips it on systems where it is installed otherwise.
set -euo pipefail

packages=(
    gcc g++ libc6-dev make cmake ninja-build pkg-config binutils
    clang clang-format clang-tidy libclang-rt-14-dev llvm
    liburing-dev liblmdb-dev libxxhash-dev libjansson-dev libhwloc-dev libpcre2-dev librocksdb-dev
    libbz2-dev libblosc-dev libbrotli-dev liblz4-dev lz4 liblzma-dev
    libsnappy-dev liblzo2-dev libzfp-dev zlib1g-dev libzstd-dev
    libcmocka-dev
    python3-minimal jq patchelf
)

fail() {
    echo "setup: $*" >&2
    exit 1
}

[ -z "${SLUICE_NO_SETUP:-}" ] || exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    fail "needs apt-get; else install by hand: ${packages[*]} and set SLUICE_NO_SETUP=1"
fi

installed=$(dpkg-query -W -f '${db:Status-Status}\n' "${packages[@]}" \
    2>/dev/null | grep -cx installed || true)
[ "$installed" -lt ${#packages[@]} ] || exit 0

root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "must run as root, or with sudo installed"
    root=(sudo)
    # Without a person nobody can type a password.
    [ -t 0 ] || root=(sudo -n)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 ||
        fail "apt-get $1 failed: $(grep -E '^(E:|sudo:)' "$log" | head -n 1)"
}
echo "setup: installing packages (about 1 GB on a bare system)"
apt update
apt install -y --no-install-recommends "${packages[@]}"
