#!/usr/bin/env bash
# Installs what is missing of Debian's packages, with apt (by sudo when not root). Says nothing where all is there.
# usage: dependencies.sh build|test|checks|python ...
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libprotobuf-c-dev protobuf-c-compiler libyaml-dev
    libsystemd-dev libjpeg-dev libpng-dev libxxhash-dev libjansson-dev libsodium-dev libncurses-dev zlib1g-dev)
test=(check python3 mandoc)
python=(protobuf-compiler python3 python3-protobuf python3-numpy)
checks=(clang clang-format libclang-rt-14-dev gcc-aarch64-linux-gnu qemu-user dpkg-dev file python3-onnx)

missing=()
for group in "$@"; do
    declare -n list=$group
    for package in "${list[@]}"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' ||
            missing+=("$package")
    done
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "installing: ${missing[*]}"
sudo=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "not root and no sudo: install these packages first" >&2; exit 1; }
    sudo=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ "${sudo[@]}" apt-get -q update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
