#!/usr/bin/env bash
# Installs the packages on a fresh Debian 12 without systemd, as in a container, and runs what their users run:
# guest.sh there. Needs root, mmdebstrap and, once, Debian's archive; the system is kept in CACHE.
# usage: install.sh PACKAGES-FOLDER SOURCE-DIR CACHE
set -euo pipefail
skip() {
    echo "skipped: $*"
    exit 77
}
shopt -s nullglob
packages=("$1"/legonet_*_amd64.deb "$1"/legonet-dev_*_amd64.deb "$1"/python3-legonet_*_all.deb)
[ ${#packages[@]} = 3 ] || skip "there are no three packages in $1 (cmake --preset deb, then cpack -G DEB)"
source=$(realpath "$2")
mkdir -p "$3" && cache=$(realpath "$3")
for program in mmdebstrap dpkg-deb unshare chroot; do
    command -v "$program" >/dev/null || skip "no $program here"
done
[ "$(id -u)" = 0 ] || skip "a system with the right owners takes root"
unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "no namespaces here"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the packages depend on, and what their users bring: a compiler, pip with what it builds by, jq.
depends=$(for package in "${packages[@]}"; do dpkg-deb -f "$package" Depends; done |
    sed -E 's/ *\([^)]*\)//g; s/ *, */\n/g' | grep -v '^legonet$' | sort -u | paste -sd,)
wanted=$depends,gcc,libc6-dev,pkg-config,python3-venv,python3-setuptools,python3-wheel,protobuf-compiler,jq
if [ "$(cat "$cache/packages" 2>/dev/null)" != "$wanted" ]; then
    echo "making the system"
    mmdebstrap --quiet --variant=minbase --include="$wanted" bookworm "$cache/root.tar" >"$work/log" 2>&1 ||
        { cat "$work/log"; skip "Debian's packages cannot be had here"; }
    echo "$wanted" >"$cache/packages"
fi

root=$work/root
mkdir -p "$root"
tar -C "$root" -xf "$cache/root.tar"
mkdir -p "$root"/mnt/{packages,tree/agent,tests/clients,tests/tool}
cp "${packages[@]}" "$root/mnt/packages"
cp -r "$source"/agent/{demo,python,proto} "$root/mnt/tree/agent"
cp "$source/tests/clients/python_readme.py" "$root/mnt/tests/clients"
cp "$source/tests/tool/onnx_model.py" "$root/mnt/tests/tool"
cp "$source/tests/packages/guest.sh" "$root/mnt"
# All that it starts ends with it.
unshare --mount --pid --fork --mount-proc="$root/proc" chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin bash /mnt/guest.sh "$depends"
