#!/usr/bin/env bash
# The tool as its users call it: help, exit codes, messages, run, eval and bench on the demo model.
# usage: test_cli.sh LEGONET SOURCE_FOLDER
set -uo pipefail
legonet=$1
demo=$2/agent/demo
model=$demo/cifar10_resnet20.onnx
vector=$demo/cifar10_resnet20/test_data_set_0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAIL: $*"
    sed 's/^/  out: /' "$work/out" 2>/dev/null | head -5
    sed 's/^/  err: /' "$work/err" 2>/dev/null | head -5
    failures=$((failures + 1))
}

# expect CODE ARGUMENTS...: runs the tool, keeps what it prints in $work/out and $work/err.
expect() {
    local wanted=$1 got
    shift
    timeout 400 "$legonet" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ "$got" = "$wanted" ] || fail "legonet $* exits with $got instead of $wanted"
}

says() { grep -qE -- "$1" "$work/out" || fail "standard output does not say '$1'"; }
complains() { grep -qE -- "$1" "$work/err" || fail "standard error does not say '$1'"; }
silent() { [ ! -s "$work/err" ] || fail "standard error is not empty"; }

# json KEYS...: the output is one JSON object that has them; prints nothing.
json() {
    python3 - "$work/out" "$@" <<'PY' || fail "not JSON with the keys $*"
import json, sys
value = json.load(open(sys.argv[1]))
sys.exit(0 if all(k in value for k in sys.argv[2:]) else 1)
PY
}

# value KEY: of the JSON output.
value() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/out" "$1"; }

# ---- help and usage ----
expect 2
complains '^Usage: legonet COMMAND'
expect 0 --help
says '^Usage: legonet COMMAND'
commands=$(sed -n '/^Commands:/,/^$/p' "$work/out" | awk '/^  /{print $1}')
[ "$(echo "$commands" | wc -w)" -ge 10 ] || fail "help lists too few commands"
for command in $commands; do
    expect 0 "$command" --help
    says "^Usage: legonet $command "
    says '^ +-h, --help'
    silent
    expect 2 "$command" --no-such-option
    complains "^legonet $command: there is no option '--no-such-option'"
done
expect 0 --version
says '^legonet [0-9]+\.[0-9]+'
expect 2 evla
complains 'did you mean eval'
expect 2 run
complains '^legonet run: too few arguments'
expect 2 run "$model" extra
expect 2 run "$model" --tol x
expect 2 run "$model" --tol 1 --rtol 1
expect 2 run "$model" --tlo 1
complains 'did you mean --tol'
expect 2 eval "$model"
expect 2 eval "$model" --images "$work"
expect 2 bench "$model" --runs 0
expect 2 bench "$model" --resident all
expect 2 run "$model" --resident all
expect 2 bench "$model" --verify never
expect 2 run "$model" --verify never
expect 2 bench "$model" --compute int4
expect 2 run "$model" --compute int4
expect 2 eval "$model" --compute int4 --images "$work" --labels x
expect 2 compress "$model" -o x.lego --compute int4
if [ -w /dev/full ]; then
    "$legonet" --help >/dev/full 2>"$work/err" && fail "a full disk is not noticed"
fi

# ---- run ----
input=$vector/input_0.pb
output=$vector/output_0.pb
expect 0 run "$model" --input "$input" --expect "$output" --tol 1e-4
says '^ok: max_abs_error'
silent
expect 0 run "$model" --input "input=$input" --expect "logits=$output" --rtol 1e-3 --atol 1e-4 --threads 1
expect 0 run "$model" --input "$input" --expect "$output" --json
json max_abs_error max_rel_error ok
[ "$(value ok)" = True ] || fail "ok is not true"
expect 0 run "$model" --input "$input" --output "$work/outputs"
says '^logits FP32 \[4,10\]:'
[ -s "$work/outputs/output_0.pb" ] || fail "no output was written"
expect 0 run "$model" --input "$input" --expect "$work/outputs/output_0.pb" --tol 0
expect 1 run "$model" --input "$input" --expect "$output" --tol 0 --json
json max_abs_error ok
[ "$(value ok)" = False ] || fail "an exact comparison with another runtime holds"
expect 1 run "$model" --input "$input" --expect "$output" --tol 0
tail -n 1 "$work/out" | grep -q '^NOT ok: max_abs_error' || fail "the last line does not tell"
expect 1 run "$model" --input "$input" --expect "$input"
says 'its shape is \[4,10\]'
expect 1 run "$model" --expect "$output"
complains "the input 'input' .*is not given"
expect 1 run "$model" --input "$input" --input "$input"
complains 'one file too many'
expect 1 run "$model" --input "x=$input"
complains "nothing named 'x'"
expect 1 run "$model" --input "$work/none.pb"
complains 'none.pb'
expect 0 run "$model" --input "$demo/pictures/cat.png"
says '^logits FP32 \[1,10\]:'
cp "$model" "$work/bare.onnx"
expect 1 run "$work/bare.onnx" --input "$demo/pictures/cat.png"
complains '--preprocess'
expect 0 run "$work/bare.onnx" --input "$demo/pictures/cat.png" --preprocess "${model%.onnx}.preprocess.json"
echo '{"width": 32}' >"$work/bare.preprocess.json"
expect 1 run "$work/bare.onnx" --input "$input"
complains "bare.preprocess.json: the key 'height' is missing"
expect 1 run "$work/none.onnx"
complains '^legonet run: .*none.onnx.*: No such file'
expect 1 run "$demo/labels.txt"
complains '\.onnx or \.lego'
head -c 5000 "$model" >"$work/cut.onnx"
expect 1 run "$work/cut.onnx" --input "$input"
complains '^legonet run: .*cut.onnx'
: >"$work/empty.lego"
expect 1 run "$work/empty.lego"
complains 'empty.lego'

# ---- eval ----
{
    echo 'file,class'
    index=0
    while read -r label; do
        echo "pictures/$label.png,$index"
        index=$((index + 1))
    done <"$demo/labels.txt"
} >"$work/labels.csv"
expect 0 eval "$model" --images "$demo" --labels "$work/labels.csv" --json
json images top1 top5
[ "$(value images)" = 10 ] && [ "$(value top1)" = 100.0 ] && [ "$(value top5)" = 100.0 ] || fail "the demo pictures are not all right"
expect 0 eval "$model" --images "$demo/pictures" --labels "$work/labels.csv" --limit 3 --threads 2
says '^3 images: top-1 100.00 %, top-5 100.00 %'
sed 's/,0$/,3/' "$work/labels.csv" >"$work/one_wrong.csv"
expect 0 eval "$model" --images "$demo" --labels "$work/one_wrong.csv" --json
[ "$(value top1)" = 90.0 ] || fail "a wrong label is not counted"
echo 'pictures/cat.png,10' >>"$work/labels.csv"
expect 1 eval "$model" --images "$demo" --labels "$work/labels.csv"
complains 'has class 10, the model has 10 classes'
expect 0 eval "$model" --images "$demo/pictures" --against "$model" --json
json images agreement kl output_error
[ "$(value images)" = 10 ] && [ "$(value agreement)" = 100.0 ] && [ "$(value kl)" = 0.0 ] &&
    [ "$(value output_error)" = 0.0 ] && [ "$(value top1)" = None ] || fail "a model differs from itself"
mkdir "$work/[inputs]"
cp "$input" "$work/[inputs]/"
echo '{"heads": [{"kind": "text", "output": "nothing"}]}' >"$work/heads.json"
expect 1 compress "$model" -o "$work/coarse.lego" --quiet --codec legonet --postprocess "$work/heads.json"
complains "heads.json: heads.0.: the model has no output 'nothing'"
echo '{"heads": [{"kind": "classification", "output": 1}]}' >"$work/heads.json"
expect 1 compress "$model" -o "$work/coarse.lego" --quiet --codec legonet --postprocess "$work/heads.json"
complains "heads.json: heads.0.: 'output' must be a text"
echo '{"heads": [{"kind": "classification", "output": "logits", "activation": "softmax"}]}' >"$work/heads.json"
expect 0 compress "$model" -o "$work/coarse.lego" --quiet --codec legonet --postprocess "$work/heads.json"
expect 0 eval "$work/coarse.lego" --inputs "$work/[inputs]" --against "$model" --json
[ "$(value images)" = 1 ] && [ "$(value output_error)" != 0.0 ] && [ "$(value kl)" != 0.0 ] ||
    fail "a coarse model does not differ"
expect 2 eval "$model" --inputs "$work/[inputs]"
expect 1 eval "$model" --inputs "$work" --against "$work/coarse.lego"
expect 1 eval "$model" --images "$work/[inputs]" --against "$model"
complains 'no PNG or JPEG'
expect 1 eval "$model" --cifar10 "$model"
complains 'no CIFAR-10 file'
rm "$work/bare.preprocess.json"
expect 1 eval "$work/bare.onnx" --images "$demo" --labels "$work/one_wrong.csv"
complains '--preprocess'

# ---- int8 ----
expect 0 compress "$model" -o "$work/int8.lego" --quiet --brick 1x1 --catalogue 64 --iterations 2 --compute int8 --json
[ "$(value int8_layers)" -gt 15 ] || fail "not all layers compute in int8"
expect 0 inspect "$work/int8.lego"
says 'int8'
expect 0 verify "$work/int8.lego"
expect 0 eval "$work/int8.lego" --images "$demo/pictures" --labels "$work/labels.csv" --limit 10 --json
[ "$(value top1)" = 100.0 ] || fail "the demo pictures are not all right in int8"
expect 0 eval "$work/int8.lego" --inputs "$work/[inputs]" --against "$model" --json
error=$(value output_error)
expect 0 eval "$work/int8.lego" --inputs "$work/[inputs]" --against "$model" --compute fp32 --json
[ "$(value output_error)" != "$error" ] || fail "--compute fp32 changes nothing"
expect 0 compress "$model" -o "$work/auto.lego" --quiet --brick 1x1 --catalogue 64 --iterations 2 --compute auto --json
[ "$(value int8_layers)" -gt 0 ] || fail "no layer computes in int8"

# ---- bench ----
expect 0 bench "$model" --runs 3 --threads 1 --compute int8 --layers
says 'Quantize'
expect 0 bench "$model" --runs 3 --threads 1 --json
json load_us ready_us first_us median_us min_us threads peak_rss_bytes weights_resident_bytes
python3 - "$work/out" <<'PY' || fail "the figures of bench make no sense"
import json, sys
b = json.load(open(sys.argv[1]))
sys.exit(0 if 0 < b['min_us'] <= b['median_us'] and b['threads'] == 1 and b['peak_rss_bytes'] > 1 << 20 and b['runs'] == 3 else 1)
PY
expect 0 bench "$model" --runs 2 --input-shape input=2,3,32,32 --layers
says 'GMAC/s'
says 'Conv'
expect 1 bench "$model" --input-shape inptu=2,3,32,32
complains 'names no input'
expect 1 bench "$model" --input-shape input=2,x
expect 1 bench "$model" --runs 1 --input-shape input=1,4,32,32
complains 'input'
expect 1 bench "$model" --runs 1 --input-value input=5
complains 'not INT64 or INT32'
expect 1 bench "$model" --runs 1 --input-value rate=5
complains 'names no input'

# ---- the agent is not there ----
expect 1 status --socket "$work/none.sock"
complains 'none.sock: No such file'
LEGONET_SOCKET=$work/other.sock expect 1 models
complains 'other.sock'
expect 2 infer "$demo/pictures/cat.png"
complains '--model NAME is required'
expect 1 infer --model net "$demo/pictures/cat.png" --socket "$work/none.sock"
expect 2 load

[ "$failures" = 0 ] && echo "all hold" || echo "$failures failures"
[ "$failures" = 0 ]
