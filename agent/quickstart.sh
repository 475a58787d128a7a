#!/usr/bin/env bash
# The whole way in one command: builds, compresses the demo model, starts the agent on a private socket with the
# shipped configuration, sends it a picture and prints what it answers.
# usage: agent/quickstart.sh [PICTURE]
set -euo pipefail
cd "$(dirname "$0")/.."
picture=${1:-agent/demo/pictures/cat.png}
./tests/support/dependencies.sh build
command -v ccache >/dev/null && export CMAKE_C_COMPILER_LAUNCHER=ccache

build=build/quickstart
mkdir -p "$build"
echo "building"
{ cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLEGO_TESTS=OFF &&
    cmake --build "$build" --target legonet legonetd; } >"$build/log" 2>&1 || { tail -n 60 "$build/log" >&2; exit 1; }
legonet=$build/agent/legonet
legonetd=$build/agent/legonetd

work=$(mktemp -d)
agent=
stop() {
    [ -z "$agent" ] || kill "$agent" 2>/dev/null || true
    [ -z "$agent" ] || wait "$agent" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

echo "compressing the demo model (half a minute: it is calibrated on synthetic pictures)"
mkdir "$work/models"
"$legonet" compress agent/demo/cifar10_resnet20.onnx -o "$work/models/demo.lego" --ratio 16 \
    --labels agent/demo/labels.txt --json >"$work/report.json" 2>"$work/compress.log" ||
    { cat "$work/compress.log" >&2; exit 1; }

echo "starting the agent"
"$legonetd" --config config/legonetd.yaml --set socket.path="$work/agent.sock" \
    --set model_directory="$work/models" 2>"$work/agent.log" &
agent=$!
for _ in $(seq 100); do
    "$legonet" status --socket "$work/agent.sock" >/dev/null 2>&1 && break
    kill -0 "$agent" 2>/dev/null || { cat "$work/agent.log" >&2; exit 1; }
    sleep 0.1
done

echo
"$legonet" infer --socket "$work/agent.sock" --model demo --top 5 "$picture"
echo
awk -F '[:,]' '/"ratio"/ { printf "compression ratio %.2f (weights of the ONNX model over bytes of the file)\n", $2 }' "$work/report.json"

kill -TERM "$agent"
wait "$agent" || { echo "the agent did not stop cleanly" >&2; cat "$work/agent.log" >&2; exit 1; }
agent=
echo "the agent stopped cleanly"
