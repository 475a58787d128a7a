#!/usr/bin/env bash
# What legonet answers beside what onnxruntime-node answers. Skips (77) without node, Debian's python3-onnx, or
# onnxruntime-node in $LEGONET_NODE_MODULES.
# usage: check-peers.sh LEGONET SCRIPT.py [ARGUMENT ...]
set -euo pipefail
legonet=$1
script=$(dirname "$0")/$2
shift 2
modules=${LEGONET_NODE_MODULES:-}
command -v node >/dev/null || { echo "skipped: node is not installed"; exit 77; }
[ -n "$modules" ] && [ -d "$modules/onnxruntime-node" ] || {
    echo "skipped: no onnxruntime-node in \$LEGONET_NODE_MODULES"
    exit 77
}
for python in python3 /usr/bin/python3; do
    "$python" -c 'import numpy, onnx' 2>/dev/null && exec "$python" "$script" --legonet "$legonet" --ort "$modules" "$@"
done
echo "skipped: python3-onnx is not installed"
exit 77
