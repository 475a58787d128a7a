#!/usr/bin/env bash
# Runs inside a machine that systemd has booted, as root; machine.sh starts it. Installs the package and lives through
# what an operator does with it. Prints "guest: all hold" at the end.
# usage: guest.sh FOLDER      with legonet.deb, next.deb (a higher version) and demo.lego, cat.png
set -uo pipefail
here=$1
socket=/run/legonet/legonet.sock
failures=0
infer() { legonet infer --socket "$socket" --model demo "$here/cat.png" --timeout 60 --json; }

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}
step() { printf '== %s (%d s)\n' "$*" $SECONDS; }
property() { systemctl show --value -p "$1" legonetd.service; }
# until SECONDS COMMAND...
until_holds() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}
# Clients that ask without a pause until stop_clients, which fails where one of them has got no answer.
start_clients() {
    rm -f /tmp/stop /tmp/lost /tmp/asked
    (while [ ! -e /tmp/stop ]; do infer >/dev/null 2>>/tmp/lost; echo >>/tmp/asked; done) &
    clients=$!
    until_holds 60 test -s /tmp/asked
}
stop_clients() {
    touch /tmp/stop
    wait "$clients"
    echo "$(wc -l </tmp/asked) requests, of them lost: $(grep -c '^legonet' /tmp/lost)"
    [ ! -s /tmp/lost ] || { cat /tmp/lost; return 1; }
}
is_active() { [ "$(systemctl is-active "$1")" = active ]; }
restarts_above() { [ "$(property NRestarts)" -gt "$1" ]; }
logged() { journalctl -u legonetd.service --no-pager -o cat | grep -q -- "$1"; }

step install
dpkg -i "$here/legonet.deb" >/dev/null || fail "the package does not install"
getent passwd legonet >/dev/null || fail "there is no user legonet"
[ "$(stat -c %U:%a /run/legonet)" = legonet:755 ] || fail "/run/legonet is not as it should be"
is_active legonetd.service && fail "the service runs before its operator has said so"
cp "$here/demo.lego" /var/lib/legonet/models/

step "enable, and start by the socket"
systemctl enable --now legonetd.socket 2>/dev/null || fail "enable"
[ "$(systemctl is-enabled legonetd.socket)" = enabled ] || fail "the socket is not enabled"
is_active legonetd.service && fail "the service runs before anybody has asked"
infer | grep -q '"label"\|classes' || fail "the first request is not answered"
is_active legonetd.service || fail "the service does not run"
[ "$(stat -c %U "/proc/$(property MainPID)")" = legonet ] || fail "it does not run as legonet"
[ "$(property StatusText)" = "1 model serves, 0 do not" ] || fail "its status is \"$(property StatusText)\""
useradd -M stranger && useradd -M -G legonet camera
runuser -u stranger -- legonet status --socket "$socket" 2>/dev/null && fail "a stranger may ask"
runuser -u camera -- legonet status --socket "$socket" >/dev/null || fail "a member of the group may not ask"

step exposure
exposure=$(systemd-analyze security legonetd.service --no-pager | sed -nE 's/.*Overall exposure level.*: ([0-9.]+) .*/\1/p')
echo "exposure $exposure"
awk -v e="${exposure:-10}" 'BEGIN { exit !(e <= 0.5) }' || fail "the exposure is ${exposure:-not said}"

step reload
cp "$here/demo.lego" /var/lib/legonet/models/second.tmp && mv /var/lib/legonet/models/second.tmp /var/lib/legonet/models/second.lego
systemctl reload legonetd.service || fail "reload"
until_holds 60 sh -c "legonet models --socket $socket | grep -q 'second.*READY'" || fail "reload does not take the new model up"
mkdir -p /etc/legonet/legonetd.d
echo 'nonsense: 1' >/etc/legonet/legonetd.d/50-bad.yaml
legonet config check >/dev/null 2>&1 && fail "a broken drop-in is sound"
systemctl reload legonetd.service
until_holds 60 logged 'nonsense' || fail "the broken drop-in is not logged"
infer >/dev/null || fail "a broken configuration stops it"
rm /etc/legonet/legonetd.d/50-bad.yaml
rm /var/lib/legonet/models/second.lego

step "journal: fields"
journalctl -u legonetd.service -o json --no-pager | grep -q '"LEGONET_MODEL":"demo"' || fail "no field LEGONET_MODEL in the journal"

step "restart under clients: they wait"
start_clients
for _ in 1 2 3; do systemctl restart legonetd.service || fail "restart"; done
stop_clients || fail "requests were lost by restarts"

step "kill -9: the next request waits for the new process"
before=$(property NRestarts)
kill -9 "$(property MainPID)"
infer >/dev/null || fail "no answer after kill -9"
until_holds 60 restarts_above "$before" || fail "it was not started again"

step watchdog
mkdir -p /run/systemd/system/legonetd.service.d
printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/legonetd.service.d/watchdog.conf
systemctl daemon-reload && systemctl restart legonetd.service
sleep 5 # two periods and more: it is fed
before=$(property NRestarts)
infer >/dev/null || fail "no answer with a short watchdog"
[ "$before" = "$(property NRestarts)" ] || fail "the watchdog bites an agent that is well"
kill -STOP "$(property MainPID)"
until_holds 60 restarts_above "$before" || fail "the watchdog does not bite"
logged 'Watchdog timeout' || journalctl -u legonetd.service --no-pager | grep -q 'watchdog' || fail "the journal does not name the watchdog"
infer >/dev/null || fail "no answer after the watchdog"
rm -r /run/systemd/system/legonetd.service.d && systemctl daemon-reload

step "drop-ins for devices"
mkdir -p /etc/systemd/system/legonetd.service.d
for name in gpio dma-heap; do
    ln -s /usr/share/legonet/systemd/$name.conf /etc/systemd/system/legonetd.service.d/$name.conf
done
systemctl daemon-reload && systemctl restart legonetd.service || fail "it does not start with the drop-ins for devices"
infer >/dev/null || fail "no answer with the drop-ins for devices"
grep -q 'char-gpiochip\|char-dma_heap' <<<"$(property DeviceAllow)" || fail "the drop-ins do not hold: $(property DeviceAllow)"
rm -r /etc/systemd/system/legonetd.service.d && systemctl daemon-reload

step upgrade
echo '# mine' >>/etc/legonet/legonetd.yaml
before=$(property MainPID)
start_clients
dpkg -i "$here/next.deb" >/dev/null || fail "the upgrade does not install"
stop_clients || fail "requests were lost by the upgrade"
[ "$(property MainPID)" != "$before" ] || fail "the upgrade leaves the old program running"
is_active legonetd.service || fail "the upgrade stops the service"
grep -q '^# mine' /etc/legonet/legonetd.yaml || fail "the upgrade loses the configuration"

step "remove and purge"
dpkg -r legonet >/dev/null || fail "remove"
is_active legonetd.service && fail "remove leaves the service running"
[ -e "$socket" ] && fail "remove leaves the socket"
[ -e /etc/legonet/legonetd.yaml ] || fail "remove takes the configuration"
[ -e /var/lib/legonet/models/demo.lego ] || fail "remove takes models"
dpkg -P legonet >/dev/null || fail "purge"
[ -e /etc/legonet/legonetd.yaml ] && fail "purge leaves the configuration"
[ -e /var/lib/legonet/models/demo.lego ] || fail "purge takes the operator's models"
systemctl --failed --no-legend | grep legonet && fail "units have failed"

[ "$failures" = 0 ] && echo "guest: all hold" || { echo "guest: $failures failures"; journalctl -u legonetd.service -u legonetd.socket --no-pager -o short-monotonic | tail -n 120; }
