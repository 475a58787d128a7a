#!/usr/bin/env bash
# Both fitted codecs on the demo model, to a ratio: the file keeps to it and still knows the pictures.
set -euo pipefail
. "$(dirname "$0")/common.sh" "$@"
[ -z "${LEGO_FAMILY:-}" ] || { echo "skipped: too slow under an emulator"; exit 77; }

model=$demo/cifar10_resnet20.onnx
for codec in bricks small; do
    "$legonet" compress "$model" -o "$work/$codec.lego" -c "$codec" --ratio 12 -q --json >"$work/report"
    "$legonet" verify "$work/$codec.lego" >/dev/null || fail "$codec: verify"
    within "$(json "$work/report" ratio)" 12 12.6 || fail "$codec: ratio $(json "$work/report" ratio)"
    "$legonet" eval "$work/$codec.lego" --images "$demo/pictures" --against "$model" --json >"$work/eval"
    within "$(json "$work/eval" agreement)" 75 100 || fail "$codec: $(cat "$work/eval")"
    echo "$codec: $(json "$work/report" file_bytes) bytes, $(json "$work/report" predicted)"
done
