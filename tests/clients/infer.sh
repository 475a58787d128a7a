#!/usr/bin/env bash
# legonet infer on pictures, folders and streams, beside an agent (with_agent.c) that serves the demo model.
# usage: infer.sh DEMO-FOLDER JPEG-FOLDER      LEGONET names the tool
set -euo pipefail
legonet=$LEGONET
demo=$(realpath "$1")
jpegs=$(realpath "$2")
work=$(mktemp -d)
watcher=
trap '[ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true; rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    cat "$work/out" "$work/err" >&2
    exit 1
}

# run STATUS ARGUMENT...: the tool ends so; what it printed is in out and err.
run() {
    local status=0
    "$legonet" infer --model demo "${@:2}" >"$work/out" 2>"$work/err" || status=$?
    [ "$status" = "$1" ] || fail "infer ${*:2} ends with $status"
}

# lines N TEXT: so many lines of the output have the text.
lines() {
    [ "$(grep -c -- "$2" "$work/out")" = "$1" ] || fail "not $1 lines have '$2'"
}

is_png() {
    [ "$(head -c 4 "$1" | tail -c 3)" = PNG ] || fail "$1 is no PNG"
}

# A YUV4MPEG2 stream of N grey frames of 64x48.
y4m() {
    printf 'YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n'
    for _ in $(seq "$1"); do
        printf 'FRAME\n'
        head -c 4608 /dev/zero | tr '\0' '\200'
    done
}

# One picture: its answer whole, and drawn.
run 0 "$demo/pictures/cat.png" --draw "$work/cat.png"
lines 1 '^ *[0-9.-]*  *3  cat$'
is_png "$work/cat.png"
cmp -s "$work/cat.png" "$demo/pictures/cat.png" && fail "nothing was drawn"

# A folder: every picture has its class, other files are passed over, broken ones are told.
mkdir "$work/in"
cp "$demo"/pictures/*.png "$work/in"
echo text >"$work/in/notes.txt"
run 0 "$work/in" --draw "$work/drawn"
while read -r label; do
    lines 1 "/$label.png: .* ms: $label ("
    is_png "$work/drawn/$label.png.png"
done <"$demo/labels.txt"
lines 10 ' ms: '
head -c 60 "$demo/pictures/cat.png" >"$work/in/broken.png"
run 1 "$work/in" --json
lines 10 '^{"source":".*"classes":\['
grep -q 'broken.png' "$work/err" || fail "the broken picture is not named"
rm "$work/in/broken.png"

# Streams: from a file, from standard input, cut short, of another kind.
y4m 3 >"$work/s.y4m"
rm "$work"/drawn/*
run 0 "$work/s.y4m" --draw "$work/drawn"
lines 3 '/s.y4m [123]: '
for i in 1 2 3; do is_png "$work/drawn/s.y4m-00000$i.png"; done
cat "$work/s.y4m" | run 0 - --json --frames 2
lines 2 '^{"source":"-","frame":[12],'
head -c 8000 "$work/s.y4m" >"$work/short.y4m"
run 1 "$work/short.y4m"
lines 1 'short.y4m 1: '
grep -q 'frame 2 is cut short' "$work/err" || fail "the frame is not named"
printf 'YUV4MPEG2 W64 H48 C444\nFRAME\n' >"$work/c444.y4m"
run 1 "$work/c444.y4m"
grep -q "chroma '444' is not read" "$work/err" || fail "the chroma is not named"
printf 'YUV4MPEG2 W99999 H48\nFRAME\n' >"$work/wide.y4m"
run 1 "$work/wide.y4m"
grep -q "W99999" "$work/err" || fail "the width is not named"

cat "$jpegs/baseline.jpg" "$jpegs/progressive.jpg" "$jpegs/grey.jpg" >"$work/s.mjpeg"
run 0 "$work/s.mjpeg" --draw "$work/drawn"
lines 3 '/s.mjpeg [123]: '
is_png "$work/drawn/s.mjpeg-000003.png"
head -c 1300 "$work/s.mjpeg" >"$work/short.mjpeg"
run 1 "$work/short.mjpeg"
lines 1 '/short.mjpeg 1: '
grep -q 'frame 2 is cut short' "$work/err" || fail "the frame is not named"
{ cat "$jpegs/grey.jpg" && echo more; } >"$work/more.mjpeg"
run 1 "$work/more.mjpeg"
grep -q 'frame 2 does not begin as a JPEG picture' "$work/err" || fail "the frame is not named"

# A folder that is watched: what is there, then what comes.
run 1 "$work/s.y4m" --watch
mkdir "$work/watched"
cp "$demo/pictures/dog.png" "$work/watched"
"$legonet" infer --model demo --watch --frames 3 --draw "$work/latest.png" "$work/watched" >"$work/out" 2>"$work/err" &
watcher=$!
for _ in $(seq 600); do
    grep -q dog.png "$work/out" && break
    sleep 0.1
done
lines 1 '/dog.png: .*: dog ('
cp "$demo/pictures/ship.png" "$work/watched/.part"
mv "$work/watched/.part" "$work/watched/ship.png"
cp "$demo/pictures/frog.png" "$work/watched/frog.png"
wait "$watcher" || fail "watching fails"
watcher=
lines 1 '/ship.png: .*: ship ('
lines 1 '/frog.png: .*: frog ('
is_png "$work/latest.png"
echo "all hold"
