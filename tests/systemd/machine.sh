#!/usr/bin/env bash
# Boots Debian 12 with its systemd and runs guest.sh there: in qemu with Debian's kernel, or (LEGO_MACHINE=nspawn) as a
# container on this machine's kernel, which takes less time. Needs root (for the owners of files), mmdebstrap and, once,
# Debian's archive; the system is kept in CACHE. LEGO_MACHINE_ACCELERATOR=kvm makes qemu fast where nesting works.
# usage: machine.sh PACKAGE.deb SOURCE-DIR CACHE
set -euo pipefail
kind=${LEGO_MACHINE:-qemu}
skip() {
    echo "skipped: $*"
    exit 77
}
[ -e "$1" ] || skip "there is no package $1 (cmake --preset deb, then cpack -G DEB)"
package=$(realpath "$1") source=$(realpath "$2")
mkdir -p "$3" && cache=$(realpath "$3")
case $kind in
qemu) programs=(qemu-system-x86_64 mke2fs) ;;
nspawn) programs=(systemd-nspawn) ;;
*) echo "LEGO_MACHINE is qemu or nspawn, not $kind" && exit 1 ;;
esac
for program in mmdebstrap dpkg-deb "${programs[@]}"; do
    command -v "$program" >/dev/null || skip "no $program here"
done
[ "$(id -u)" = 0 ] || skip "a system with the right owners takes root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the package depends on, and what boots.
make_root() {
    local wanted
    wanted=$(dpkg-deb -f "$package" Depends | sed -E 's/ *\([^)]*\)//g; s/ *, */,/g'),systemd,systemd-sysv,udev,dbus,linux-image-cloud-amd64
    [ "$(cat "$cache/packages" 2>/dev/null)" != "$wanted" ] || return 0
    echo "making the system"
    rm -rf "$cache/root" "$cache/disk"
    mmdebstrap --quiet --variant=minbase --include="$wanted" bookworm "$cache/root" >"$work/log" 2>&1 ||
        { cat "$work/log"; skip "Debian's packages cannot be had here"; }
    cat >"$cache/root/etc/systemd/system/guest.service" <<'UNIT'
[Unit]
Description=The test
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c '[ -e /mnt/guest.sh ] || mount -o ro /dev/vdb /mnt; exec bash /mnt/guest.sh /mnt'
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
UNIT
    mkdir -p "$cache/root/etc/systemd/system/default.target.wants"
    ln -s ../guest.service "$cache/root/etc/systemd/system/default.target.wants/guest.service"
    # The console is the test's: a getty would hang it up.
    ln -sf /dev/null "$cache/root/etc/systemd/system/serial-getty@ttyS0.service"
    ln -sf /dev/null "$cache/root/etc/systemd/system/console-getty.service"
    ln -sf /dev/null "$cache/root/etc/systemd/system/getty.target"
    mkdir "$cache/root/etc/systemd/system.conf.d"
    printf '[Manager]\nShowStatus=no\n' >"$cache/root/etc/systemd/system.conf.d/quiet.conf"
    echo "$wanted" >"$cache/packages"
}

# The package, the same as a later version, a model and the test.
make_data() {
    mkdir "$work/data" "$work/next"
    dpkg-deb -R "$package" "$work/next"
    "$work/next/usr/bin/legonet" compress "$source/agent/demo/cifar10_resnet20.onnx" -q --codec bricks --brick 1x1 --catalogue 16 \
        --labels "$source/agent/demo/labels.txt" -o "$work/data/demo.lego" >/dev/null
    sed -i -E 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$work/next" "$work/data/next.deb" >/dev/null
    cp "$package" "$work/data/legonet.deb"
    cp "$source/agent/demo/pictures/cat.png" "$source/tests/systemd/guest.sh" "$work/data/"
}

boot_qemu() {
    local root=$cache/root
    [ -e "$cache/disk" ] || { mke2fs -q -t ext4 -d "$root" "$cache/disk.next" 2G && mv "$cache/disk.next" "$cache/disk"; }
    mke2fs -q -t ext4 -d "$work/data" "$work/data.img" 64M
    timeout 1700 qemu-system-x86_64 -accel "${LEGO_MACHINE_ACCELERATOR:-tcg}" -cpu max -m 1024 -smp 2 -nodefaults -no-reboot \
        -display none -kernel "$root"/boot/vmlinuz-* -initrd "$root"/boot/initrd.img-* \
        -append "root=/dev/vda rw console=ttyS0 quiet loglevel=3" \
        -drive "file=$cache/disk,format=raw,if=virtio,snapshot=on" \
        -drive "file=$work/data.img,format=raw,if=virtio,readonly=on" -serial "file:$work/console" 2>"$work/boot"
}

boot_nspawn() {
    local options=(-q --register=no --volatile=overlay --bind-ro="$work/data:/mnt" -D "$cache/root" -b) tree
    if [ ! -d /run/systemd/system ]; then
        # Nobody here to make a unit for the container: it takes one that it is in.
        options+=(--keep-unit)
        for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
            [ -e "$tree/cgroup.procs" ] || continue
            mkdir -p "$tree/system.slice/lego-machine.service"
            echo $BASHPID >"$tree/system.slice/lego-machine.service/cgroup.procs"
        done
    fi
    timeout 1700 systemd-nspawn "${options[@]}" </dev/null >"$work/console" 2>"$work/boot"
}

make_root
make_data
("boot_$kind") || true
sed 's/\r//g' "$work/console" | sed -n '/^== /,/^guest: /p'
grep -qa '^guest: all hold' "$work/console" || { tail -n 20 "$work/console" "$work/boot"; exit 1; }
