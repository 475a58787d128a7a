#!/usr/bin/env bash
# Checks the units as systemd reads them: no complaint from verify, an exposure of at most 0.5.
# usage: check-units.sh BUILT.service SYSTEMD-SOURCE-DIR
set -euo pipefail
service=$1 source=$2
command -v systemd-analyze >/dev/null || { echo "skipped: no systemd-analyze here"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# verify wants the programs that the unit names; any executable will do for that.
sed -E "s#^(ExecStart|ExecStartPre)=[^ ]+#\1=/bin/true#" "$service" >"$work/legonetd.service"
cp "$source/legonetd.socket" "$work/"

complaints=$(systemd-analyze verify --man=no "$work/legonetd.service" "$work/legonetd.socket" 2>&1 |
    grep -F legonetd || true)
[ -z "$complaints" ] || { echo "verify complains:"; echo "$complaints"; exit 1; }

line=$(systemd-analyze security --offline=yes "$work/legonetd.service" 2>/dev/null | tail -n 1)
exposure=$(sed -nE 's/.*: ([0-9.]+) .*/\1/p' <<<"$line")
echo "exposure: ${exposure:?no figure in: $line}"
awk -v e="$exposure" 'BEGIN { exit !(e <= 0.5) }' || { echo "exposure above 0.5"; exit 1; }

systemd-sysusers --dry-run "$source/legonet.sysusers" >/dev/null
systemd-tmpfiles --cat-config "$source/legonet.tmpfiles" >/dev/null
echo "units are sound"
