#!/usr/bin/env bash
# What the runtime makes of a model, and models whose inputs have open sizes.
# usage: plans.sh LEGONET DEMO_FOLDER
set -euo pipefail
. "$(dirname "$0")/common.sh"
here=$(dirname "$0")

# The first convolution takes the picture channels last: one step brings it there.
"$legonet" inspect --plan "$demo/cifar10_resnet20.onnx" >"$work/plan"
grep -q '^input .*\[1,3,32,32\]' "$work/plan" || fail "no input in $(cat "$work/plan")"
steps=$(awk '$1 == "steps" { print $2 }' "$work/plan" | tr -d ,)
[ "$(grep -c '^\(Conv\|Convert\|Gemm\|GlobalAveragePool\|[A-Z][A-Za-z]*\) ' "$work/plan")" -gt "$steps" ] || fail "steps are missing"
grep -q '^Convert ' "$work/plan" || fail "no conversion is shown"
"$legonet" inspect --plan --json "$demo/cifar10_resnet20.onnx" >"$work/plan.json"
[ "$(json "$work/plan.json" conversions)" -le 2 ] || fail "$(json "$work/plan.json" conversions) conversions"

# A window of 200 samples does not fit an input of one, nor of 64.
python3 "$here/onnx_model.py" model open "$work/open.onnx"
"$legonet" compress "$work/open.onnx" -o "$work/open.lego" --ratio 4 --quiet
"$legonet" verify "$work/open.lego" | grep -q 'self-test: passed' || fail "verify of open sizes"
"$legonet" inspect --plan "$work/open.lego" | grep -q '\[1,1,1024\]' || fail "another size was chosen"
