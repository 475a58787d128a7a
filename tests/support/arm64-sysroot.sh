#!/usr/bin/env bash
# Makes a Debian arm64 sysroot with the libraries that the project builds against, for the preset arm64.
# Nothing of this system's package state changes: apt works in folders of its own.
# usage: arm64-sysroot.sh DIR
set -euo pipefail
dir=${1:?usage: arm64-sysroot.sh DIR}
packages=(libc6-dev libgcc-12-dev linux-libc-dev libuv1-dev libprotobuf-c-dev libyaml-dev
    libsystemd-dev libjpeg-dev libpng-dev libxxhash-dev libjansson-dev libsodium-dev libncurses-dev zlib1g-dev check)

stamp=$dir/.packages
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "${packages[*]}" ] && exit 0
mkdir -p "$dir"
dir=$(realpath "$dir")
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
touch "$state/status"

apt_arm64() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$state" \
        -o Dir::State::status="$state/status" -o Dir::State::lists="$state/lists" \
        -o Dir::Cache="$state/cache" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
        -o APT::Install-Recommends=0 "$@"
}

echo "arm64 sysroot: fetching packages"
{ apt_arm64 update && apt_arm64 install -y --download-only "${packages[@]}"; } >"$state/log" 2>&1 ||
    { cat "$state/log" >&2; exit 1; }
for package in "$state"/cache/archives/*.deb; do
    dpkg-deb --extract "$package" "$dir"
done

# Absolute links would lead out of the sysroot.
find "$dir" -type l -lname '/*' -print0 | while IFS= read -r -d '' link; do
    ln -sfn --relative "$dir$(readlink "$link")" "$link"
done
echo "${packages[*]}" >"$stamp"
echo "arm64 sysroot: ready in $dir"
