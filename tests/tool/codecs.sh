#!/usr/bin/env bash
# The plain codecs on the real ResNets: the true file ratio, and an accuracy that is said as it is.
set -euo pipefail
. "$(dirname "$0")/common.sh" "$@"
[ -n "${LEGONET_DATA:-}" ] || { echo "skipped: LEGONET_DATA is not set"; exit 77; }
[ -z "${LEGO_FAMILY:-}" ] || { echo "skipped: too slow under an emulator"; exit 77; }

images=$LEGONET_DATA/cifar10/test_2500.bin

# check NAME MODEL RATIO-LOW RATIO-HIGH TOP1-LOW TOP1-HIGH OPTION...
check() {
    local name=$1 model=$LEGONET_DATA/models/cifar10/$2.onnx low=$3 high=$4 worst=$5 best=$6
    shift 6
    "$legonet" compress "$model" -o "$work/m.lego" --json "$@" >"$work/report"
    "$legonet" verify "$work/m.lego" >/dev/null || fail "$name: verify"
    "$legonet" eval "$work/m.lego" --cifar10 "$images" --json >"$work/eval"
    local bytes ratio top1
    bytes=$(stat -c %s "$work/m.lego")
    ratio=$(json "$work/report" ratio)
    top1=$(json "$work/eval" top1)
    echo "$name: $bytes bytes, ratio $ratio, top-1 $top1"
    [ "$bytes" = "$(json "$work/report" file_bytes)" ] || fail "$name: the report has other bytes than the file"
    within "$ratio" "$low" "$high" || fail "$name: ratio $ratio, expected $low to $high"
    within "$top1" "$worst" "$best" || fail "$name: top-1 $top1, expected $worst to $best"
}

# The paper's method collapses here (chance is 10 %): that is what the bounds pin.
check "paper, K = 32, ResNet-20" resnet20 54 66 5 20 --codec legonet --catalogue 32
check "paper, K = 32, ResNet-56" resnet56 60 72 5 20 --codec legonet --catalogue 32
check "paper, K = 16, ResNet-20" resnet20 64 80 5 20 --codec legonet --catalogue 16
check "paper, K = 16, ResNet-56" resnet56 70 86 5 20 --codec legonet --catalogue 16
check "bricks 1x1, K = 16, ResNet-20" resnet20 7.5 8.1 86 91 --codec bricks --brick 1x1 --catalogue 16 --scope model
