#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Packs build/release into build/sluice-bundle.tar.gz: programs, tests, library
# and the shared libraries they need except those of glibc. It runs from any
# folder of a Linux with glibc 2.34 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
tree=build/release
out=build/sluice-bundle
glibc_max=2.34
# Belong to the machine that runs it: its C library, and GCC's run-time
# libraries, which keep old symbols and are as new as its C library.
system='^(ld-linux.*|linux-vdso|lib(c|m|mvec|pthread|dl|rt|util|resolv|anl|stdc\+\+|gcc_s))\.so'

rm -rf "$out" "$out.tar.gz"
mkdir -p "$out"/{bin,lib,share/test}
for file in "$tree"/bin/*; do
    case ${file##*/} in
    sluice | test_* | example_*) cp "$file" "$out/bin/" ;;
    esac
done
cp -L "$tree/lib/libsluice.so.0" "$out/lib/"
ln -s libsluice.so.0 "$out/lib/libsluice.so"
find test \( -name '*.sh' -o -name '*.bash' \) -exec cp {} "$out/share/test/" \;
cp LICENSE* NOTICE* "$out/share/" 2>/dev/null || true

# ldd lists the closure, so one pass is enough.
for file in "$tree"/bin/* "$tree/lib/libsluice.so.0"; do
    ldd "$file"
done | awk '/=> not found/ { print "bundle: " $1 " not found"; exit 1 }
            $2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u |
    while read -r name path; do
        [[ $name =~ $system || $name == libsluice.so* ]] ||
            cp -L "$path" "$out/lib/$name"
    done

bad=0
for file in "$out"/bin/* "$out"/lib/*.so.*; do
    strip --strip-debug "$file"
    case $file in
    */bin/*) patchelf --set-rpath '$ORIGIN/../lib' "$file" ;;
    *) patchelf --set-rpath '$ORIGIN' "$file" ;;
    esac
    while read -r version symbol; do
        newest=$(printf '%s\n' "$version" $glibc_max | sort -V | tail -n 1)
        if [ "$newest" != $glibc_max ]; then
            echo "bundle: ${file#"$out"/} needs $symbol of GLIBC_$version" >&2
            bad=1
        fi
    done < <(objdump -T "$file" |
        sed -nE 's/.*\*UND\*.*GLIBC_([0-9.]+)\)? +(\S+)$/\1 \2/p')
done
[ $bad -eq 0 ] || exit 1

tar -C build -czf "$out.tar.gz" sluice-bundle
echo "$out.tar.gz: $(du -h "$out.tar.gz" | cut -f1)," \
    "$(find "$out/bin" -type f | wc -l) programs," \
    "$(find "$out/lib" -type f | wc -l) libraries"
