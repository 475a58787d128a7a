#!/usr/bin/env bash
# The same model gives the same answers whatever kernels run it: C references, each instruction set, all.
set -euo pipefail
. "$(dirname "$0")/common.sh" "$@"

model=$demo/cifar10_resnet20.onnx
vectors=$demo/cifar10_resnet20/test_data_set_0
"$legonet" compress "$model" -o "$work/demo.lego" --codec bricks --brick 1x1 --catalogue 16 --json >"$work/report"
masks="c all"
case ${LEGO_FAMILY:-$(uname -m)} in
x86_64) masks="c avx2 avx2,avx512 all" ;;
aarch64) masks="c neon all" ;;
esac

first=
for mask in $masks; do
    # An instruction set that this machine lacks is no mask of it: the kernels that remain must agree as well.
    LEGO_CPU=$mask "$legonet" run "$model" --input "$vectors/input_0.pb" --expect "$vectors/output_0.pb" --tol 1e-4 >/dev/null ||
        fail "LEGO_CPU=$mask: the ONNX model's logits differ from the independent runtime's"
    mkdir "$work/$mask"
    LEGO_CPU=$mask "$legonet" run "$work/demo.lego" --input "$vectors/input_0.pb" --output "$work/$mask" >/dev/null
    if [ -n "$first" ]; then
        LEGO_CPU=$mask "$legonet" run "$work/demo.lego" --input "$vectors/input_0.pb" --expect "$first" --tol 1e-4 >/dev/null ||
            fail "LEGO_CPU=$mask: the compressed model's logits differ from the references'"
    else
        first=$(find "$work/$mask" -type f)
    fi
    if [ -n "${LEGONET_DATA:-}" ]; then
        LEGO_CPU=$mask "$legonet" eval "$LEGONET_DATA/models/cifar10/resnet20.onnx" --limit 40 \
            --cifar10 "$LEGONET_DATA/cifar10/test_2500.bin" --json >"$work/eval"
        # 39 of the first 40 images, on every architecture.
        [ "$(json "$work/eval" top1)" = 97.5 ] || fail "LEGO_CPU=$mask: top-1 $(json "$work/eval" top1), expected 97.5"
    fi
    # Encoding is integer work and fixed sums: the same bytes on every instruction set.
    LEGO_CPU=$mask "$legonet" compress "$model" -o "$work/$mask.lego" --codec bricks --brick 1x1 --catalogue 16 --json >/dev/null
    cmp "$work/demo.lego" "$work/$mask.lego" || fail "LEGO_CPU=$mask: compress wrote other bytes"
done
echo "agree: $masks"
