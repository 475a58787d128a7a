#!/usr/bin/env bash
# Boots Debian 12 with its own kernel and systemd in a virtual machine, installs the package there and runs guest.sh.
# Needs root (for the image's owners), mmdebstrap, qemu-system-x86 and, once, Debian's archive; the machine's disk is
# kept in CACHE. Emulated it takes some minutes; LEGO_MACHINE_ACCELERATOR=kvm is faster.
# usage: machine.sh PACKAGE.deb SOURCE-DIR CACHE
set -euo pipefail
[ -e "$1" ] || { echo "skipped: there is no package $1 (cmake --preset deb, then cpack -G DEB)"; exit 77; }
package=$(realpath "$1") source=$(realpath "$2")
mkdir -p "$3" && cache=$(realpath "$3")
skip() {
    echo "skipped: $*"
    exit 77
}
for program in mmdebstrap qemu-system-x86_64 mke2fs dpkg-deb; do
    command -v "$program" >/dev/null || skip "no $program here"
done
[ "$(id -u)" = 0 ] || skip "an image with the right owners takes root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the package depends on, and what boots.
depends=$(dpkg-deb -f "$package" Depends | sed -E 's/ *\([^)]*\)//g; s/ *, */,/g')
wanted=$depends,systemd,systemd-sysv,udev,dbus,linux-image-cloud-amd64
if [ "$(cat "$cache/packages" 2>/dev/null)" != "$wanted" ]; then
    echo "making the machine's disk"
    mmdebstrap --quiet --variant=minbase --include="$wanted" bookworm "$work/root" >"$work/log" 2>&1 ||
        { cat "$work/log"; skip "Debian's packages cannot be had here"; }
    cat >"$work/root/etc/systemd/system/guest.service" <<'UNIT'
[Unit]
Description=The test
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount -o ro /dev/vdb /mnt && exec bash /mnt/guest.sh /mnt'
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
UNIT
    mkdir -p "$work/root/etc/systemd/system/default.target.wants"
    ln -s ../guest.service "$work/root/etc/systemd/system/default.target.wants/guest.service"
    ln -sf /dev/null "$work/root/etc/systemd/system/serial-getty@ttyS0.service"
    cp "$work"/root/boot/vmlinuz-* "$cache/kernel"
    cp "$work"/root/boot/initrd.img-* "$cache/initrd"
    mke2fs -q -t ext4 -d "$work/root" "$cache/disk.next" 2G
    mv "$cache/disk.next" "$cache/disk"
    echo "$wanted" >"$cache/packages"
fi

# A disk with the package, the same as a later version, a model and the test.
mkdir "$work/data" "$work/next" "$work/files"
dpkg-deb -R "$package" "$work/next"
sed -i -E 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group -b "$work/next" "$work/data/next.deb" >/dev/null
cp "$package" "$work/data/legonet.deb"
dpkg-deb -x "$package" "$work/files"
"$work/files/usr/bin/legonet" compress "$source/agent/demo/cifar10_resnet20.onnx" -q --codec bricks --brick 1x1 --catalogue 16 \
    --labels "$source/agent/demo/labels.txt" -o "$work/data/demo.lego" >/dev/null
cp "$source/agent/demo/pictures/cat.png" "$source/tests/systemd/guest.sh" "$work/data/"
mke2fs -q -t ext4 -d "$work/data" "$work/data.img" 64M

accelerator=${LEGO_MACHINE_ACCELERATOR:-tcg} # kvm is not usable wherever it is there: nested, say
timeout 1500 qemu-system-x86_64 -accel "$accelerator" -cpu max -m 1024 -smp 2 -nodefaults -no-reboot -display none \
    -kernel "$cache/kernel" -initrd "$cache/initrd" -append "root=/dev/vda rw console=ttyS0 quiet loglevel=3" \
    -drive "file=$cache/disk,format=raw,if=virtio,snapshot=on" -drive "file=$work/data.img,format=raw,if=virtio,readonly=on" \
    -serial "file:$work/console" 2>"$work/qemu" || true
sed 's/\r$//' "$work/console" | sed -n '/^== /,$p' | grep -v '^\[' || true
grep -q '^guest: all hold' "$work/console" || { tail -n 20 "$work/console" "$work/qemu"; exit 1; }
