#!/usr/bin/env bash
# Manual pages: clean for mandoc, and with every command of the tool and every option of the agent.
# usage: check-manuals.sh SOURCE-DIR LEGONETD
set -euo pipefail
man=$1/agent/man
failures=0
fail() {
    echo "$*"
    failures=$((failures + 1))
}

while read -r command; do
    grep -qE "^\.It Cm (.*[ ,])?$command( |\$|,)" "$man/legonet.1" || fail "legonet.1 does not name the command $command"
done < <(sed -nE 's/^LEGO_COMMAND\(([a-z]+),.*/\1/p' "$1/agent/cli/commands.def" | grep -vx version)
while read -r option; do
    grep -qE "^\.It .*Fl -$option( |\$)" "$man/legonetd.8" || fail "legonetd.8 does not name the option --$option"
done < <("$2" --help | sed -nE 's/^ .* --([a-z-]+).*/\1/p')

command -v mandoc >/dev/null || { [ "$failures" = 0 ] && echo "skipped: no mandoc here" && exit 77; }
for page in "$man"/*; do
    # Matters of style are no faults; that another page is not installed here says nothing of this one.
    said=$(mandoc -T lint -W warning "$page" 2>&1 | grep -v 'mandoc.db' || true)
    [ -z "$said" ] || fail "$said"
done
[ "$failures" = 0 ] && echo "manuals are clean"
