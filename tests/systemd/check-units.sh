#!/usr/bin/env bash
# Checks the units as systemd reads them: no complaint from verify, an exposure of at most 0.5, with each drop-in for
# devices of at most 1.0.
# usage: check-units.sh BUILT.service SYSTEMD-SOURCE-DIR
set -euo pipefail
service=$1 source=$2
command -v systemd-analyze >/dev/null || { echo "skipped: no systemd-analyze here"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# verify wants the programs that the unit names; any executable will do for that.
sed -E "s#^(ExecStart|ExecStartPre)=[^ ]+#\1=/bin/true#" "$service" >"$work/legonetd.service"
cp "$source/legonetd.socket" "$work/"

# sound NAME LIMIT: the unit as it lies in $work
sound() {
    local complaints line exposure
    complaints=$(systemd-analyze verify --man=no "$work/legonetd.service" "$work/legonetd.socket" 2>&1 |
        grep -F legonetd || true)
    [ -z "$complaints" ] || { echo "$1: verify complains:"; echo "$complaints"; exit 1; }
    line=$(systemd-analyze security --offline=yes "$work/legonetd.service" 2>/dev/null | tail -n 1)
    exposure=$(sed -nE 's/.*: ([0-9.]+) .*/\1/p' <<<"$line")
    echo "$1: exposure ${exposure:?no figure in: $line}"
    awk -v e="$exposure" -v limit="$2" 'BEGIN { exit !(e <= limit) }' || { echo "$1: exposure above $2"; exit 1; }
}

sound "the unit" 0.5
# Their settings as part of the unit: an offline look takes no drop-ins from a folder.
cp "$work/legonetd.service" "$work/plain"
for name in gpio dma-heap; do
    { sed '/^\[Install\]/,$d' "$work/plain"; cat "$source/$name.conf"; sed -n '/^\[Install\]/,$p' "$work/plain"; } >"$work/legonetd.service"
    sound "with $name.conf" 1.0
done

systemd-sysusers --dry-run "$source/legonet.sysusers" >/dev/null
systemd-tmpfiles --cat-config "$source/legonet.tmpfiles" >/dev/null
echo "units are sound"
