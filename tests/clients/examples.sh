#!/usr/bin/env bash
# Runs the examples beside an agent (with_agent.c) that serves the demo model.
# usage: examples.sh AGENT-FOLDER CLASSIFY CAMERA      LEGONET names the tool
set -euo pipefail
pictures=$1/demo/pictures
classify=$2
camera=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    cat "$work/out" >&2
    exit 1
}

"$classify" demo "$pictures/cat.png" "$pictures/ship.png" >"$work/out" 2>&1 || fail "classify"
[ "$(grep -A 1 -c 'png (.* ms):' "$work/out")" = 2 ] || fail "classify does not answer twice"
grep -A 1 'cat.png' "$work/out" | grep -q '^    cat ' || fail "the cat is something else"
"$classify" nobody "$pictures/cat.png" >"$work/out" 2>&1 && fail "classify asks nobody"
grep -q '^classify: .*nobody' "$work/out" || fail "classify does not say why"

if command -v jq >/dev/null; then
    mkdir "$work/bin"
    ln -s "$(realpath "$LEGONET")" "$work/bin/legonet"
    PATH=$work/bin:$PATH sh "$1/examples/best.sh" demo "$pictures" >"$work/out" 2>&1 || fail "best.sh"
    while read -r label; do
        grep -q "/$label.png	$label	" "$work/out" || fail "best.sh does not know the $label"
    done <"$1/demo/labels.txt"
else
    echo "no jq: best.sh is not run"
fi

"$camera" demo pattern 3 "$work/latest.png" >"$work/out" 2>&1 || fail "camera"
[ "$(grep -c '^frame [012]: ' "$work/out")" = 3 ] || fail "camera does not answer three times"
[ "$(head -c 4 "$work/latest.png" | tail -c 3)" = PNG ] || fail "camera draws no PNG"
cp "$work/latest.png" "$work/before.png"
"$camera" colors pattern 2 "$work/latest.png" >"$work/out" 2>&1 || fail "camera on a segmentation"
[ "$(grep -Ec '^frame [01]: (red|green|blue) 0\.' "$work/out")" = 2 ] || fail "camera does not say what it sees"
cmp -s "$work/latest.png" "$work/before.png" && fail "camera draws no mask"
{
    printf 'YUV4MPEG2 W64 H48 F30:1\n'
    for _ in 1 2; do printf 'FRAME\n' && head -c 4608 /dev/zero; done
} >"$work/s.y4m"
"$camera" demo "$work/s.y4m" >"$work/out" 2>&1 || fail "camera on a stream"
grep -q '^2 frames, 0 dropped$' "$work/out" || fail "camera does not end with the stream"
grep -q '▀' "$work/out" || fail "camera shows nothing"
"$camera" demo /dev/null 1 >"$work/out" 2>&1 && fail "camera takes /dev/null for a camera"
grep -q '/dev/null captures neither' "$work/out" || fail "camera does not say what is wrong with /dev/null"
echo "all hold"
