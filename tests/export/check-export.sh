#!/usr/bin/env bash
# What `legonet export` writes, another runtime (onnxruntime-node) runs, with the answers of the .lego file.
# Skips (77) without LEGONET_DATA, node, or onnxruntime-node in $LEGONET_NODE_MODULES.
# usage: check-export.sh LEGONET
set -euo pipefail
legonet=$1
here=$(cd "$(dirname "$0")" && pwd)
modules=${LEGONET_NODE_MODULES:-}
[ -n "${LEGONET_DATA:-}" ] || { echo "skipped: LEGONET_DATA is not set"; exit 77; }
command -v node >/dev/null || { echo "skipped: node is not installed"; exit 77; }
[ -n "$modules" ] && [ -d "$modules/onnxruntime-node" ] || {
    echo "skipped: no onnxruntime-node in \$LEGONET_NODE_MODULES"
    exit 77
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# check MODEL [compress options]: through a .lego file and back, on each vector
check() {
    local model=$LEGONET_DATA/models/$1 vector outputs
    shift
    "$legonet" compress "$model.onnx" -o "$folder/model.lego" "$@" >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
    "$legonet" export "$folder/model.lego" -o "$folder/model.onnx"
    for vector in "$model"/test_data_set_*; do
        rm -f "$folder"/output_*.npy
        node "$here/infer.js" "$modules" "$folder/model.onnx" "$folder" "$vector"/input_*.pb
        outputs=$(ls "$folder"/output_*.npy)
        # shellcheck disable=SC2086 # one argument a file
        "$legonet" run "$folder/model.lego" $(printf -- '--input %s ' "$vector"/input_*.pb) \
            $(printf -- '--expect %s ' $outputs) --tol 1e-4
    done
}

for network in resnet20 resnet56; do
    check cifar10/$network --codec bricks --brick 1x1 --catalogue 16
    check cifar10/$network --codec legonet --catalogue 32
    check cifar10/$network --codec legonet --catalogue 16
done
check mlperf_tiny/kws_ref --codec bricks --brick 4x1 --catalogue 256 --scope layer
check npm/ppocr_cls --codec bricks --brick 2x1 --catalogue 256
