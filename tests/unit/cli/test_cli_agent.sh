#!/usr/bin/env bash
# The tool and the client library's example against a real agent: one .lego, a private socket.
# usage: test_cli_agent.sh LEGONET LEGONETD EXAMPLE SOURCE_FOLDER
set -uo pipefail
legonet=$1
legonetd=$2
example=$3
demo=$4/agent/demo
work=$(mktemp -d)
agent=
trap '[ -z "$agent" ] || kill "$agent" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
export LEGONET_SOCKET=$work/agent.sock
failures=0

fail() {
    echo "FAIL: $*"
    sed 's/^/  out: /' "$work/out" 2>/dev/null | head -5
    sed 's/^/  err: /' "$work/err" 2>/dev/null | head -5
    failures=$((failures + 1))
}

expect() {
    local wanted=$1 got
    shift
    timeout 400 "$legonet" "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    [ "$got" = "$wanted" ] || fail "legonet $* exits with $got instead of $wanted"
}

says() { grep -qE -- "$1" "$work/out" || fail "standard output does not say '$1'"; }
complains() { grep -qE -- "$1" "$work/err" || fail "standard error does not say '$1'"; }
value() { python3 -c 'import json,sys; print(eval(sys.argv[2], {"j": json.load(open(sys.argv[1]))}))' "$work/out" "$1"; }

mkdir "$work/models"
expect 0 compress "$demo/cifar10_resnet20.onnx" -o "$work/models/demo.lego" --codec bricks --brick 1x1 --catalogue 64 --labels "$demo/labels.txt"
[ "$failures" = 0 ] || exit 1

expect 1 status
"$legonetd" --socket "$LEGONET_SOCKET" --models "$work/models" --set "capture.folder=$work/capture" --set capture.rate=1000 >"$work/log" 2>&1 &
agent=$!
for _ in $(seq 300); do
    "$legonet" status >/dev/null 2>&1 && break
    kill -0 "$agent" 2>/dev/null || break
    sleep 0.1
done

expect 0 status
says '^legonet .*: live, ready'
expect 0 status --json
[ "$(value 'j["live"] and j["ready"]')" = True ] || fail "the JSON of status is not ready"
expect 0 models --json
[ "$(value 'j["models"][0]["name"], j["models"][0]["state"]')" = "('demo', 'READY')" ] || fail "the model is not READY"

# Every picture of the demo, by the agent and here: the same answer.
while read -r label; do
    expect 0 infer --model demo "$demo/pictures/$label.png" --top 3 --json
    [ "$(value 'j["classes"][0]["label"]')" = "$label" ] || fail "the $label is taken for something else"
    [ "$(value 'len(j["classes"])')" = 3 ] || fail "not three classes"
done <"$demo/labels.txt"
expect 0 infer --model demo "$demo/pictures/cat.png"
says '^ +[0-9.-]+ +3  cat$'
vector=$demo/cifar10_resnet20/test_data_set_0/input_0.pb
expect 0 infer --model demo "input=$vector" --json
python3 - "$work/out" "$work/agent.npy" <<'PY' || fail "the agent's output is not as it should be"
import json, struct, sys
output = json.load(open(sys.argv[1]))['outputs'][0]
assert output['datatype'] == 'FP32' and output['shape'] == [4, 10]
header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 10), }".ljust(117) + '\n'
data = struct.pack('<40f', *output['data'])
open(sys.argv[2], 'wb').write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header.encode() + data)
PY
expect 0 run "$work/models/demo.lego" --input "$vector" --expect "$work/agent.npy" --tol 1e-5
expect 1 infer --model nope "$demo/pictures/cat.png"
complains '^legonet infer: .*nope'
expect 1 infer --model demo "$demo/labels.txt"
expect 1 infer --model demo "$vector" "$vector"
complains 'given twice'
expect 0 stats demo --json
[ "$(value 'j["models"][0]["inference_count"] >= 15 and j["models"][0]["success_ns"] > 0')" = True ] || fail "stats does not count"
expect 0 stats
says '^demo '

# ---- capture: what was asked above is kept, listed, and can be asked again ----
for _ in $(seq 300); do # the writer comes after the answer
    [ "$(find "$work/capture" -name '*.npz' | wc -l)" -ge 12 ] && break
    sleep 0.1
done
expect 0 capture list "$work/capture"
says '^20[0-9-]+T[0-9:.]+Z  demo +1 +[0-9.]+ % +[0-9]+  [0-9T.]+-[0-9a-f]+-demo[.]npz$'
expect 0 capture list "$work/capture" --last 2 --json
[ "$(value 'len(j), j[0]["model"], j[0]["version"], "inputs/input.npy" in j[0]["members"]')" = "(2, 'demo', '1', True)" ] || fail "capture list --json"
expect 0 capture list "$work/capture" --model other --json
[ "$(value 'len(j)')" = 0 ] || fail "records of no model"
expect 0 capture list "$work/capture" --below 0 --json
[ "$(value 'len(j)')" = 0 ] || fail "records of no confidence at all"
expect 0 capture export "$work/capture" -o "$work/kept" --last 1 --outputs
says '^1 records to '
python3 - "$work" <<'PY' || fail "what was exported is not what was kept"
import glob, sys, zipfile
kept = sorted(glob.glob(sys.argv[1] + '/capture/*.npz'))[-1]
archive = zipfile.ZipFile(kept)
for name in archive.namelist():
    if name.endswith('.npy'):
        stem = kept.rsplit('/', 1)[1][:-4]
        path = f"{sys.argv[1]}/kept/{stem}.{name.split('/', 1)[1]}"
        assert open(path, 'rb').read() == archive.read(name), path
assert archive.testzip() is None
PY
input=$(find "$work/kept" -name '*.input.npy') output=$(find "$work/kept" -name '*.npy' ! -name '*.input.npy')
expect 0 run "$work/models/demo.lego" --input "$input" --expect "$output" --tol 1e-5
echo "no archive" >"$work/kept/x.npz"
head -c 100 "$(find "$work/capture" -name '*.npz' | head -1)" >"$work/kept/y.npz"
expect 1 capture list "$work/kept"
complains 'x[.]npz: no record of'
complains 'y[.]npz: '
expect 1 capture list "$work/nowhere"
expect 2 capture export "$work/capture"
expect 2 capture frobnicate

# ---- top: once, as JSON, and on a terminal until q is pressed ----
expect 0 top --json --interval 0.1
[ "$(value 'j["ready"], j["models"][0]["name"], j["models"][0]["serves"]')" = "(True, 'demo', True)" ] || fail "top does not know the model"
(for _ in 1 2 3 4 5 6 7 8 9 10; do "$legonet" infer --model demo "$demo/pictures/cat.png" >/dev/null; done) &
asker=$!
sleep 0.1
expect 0 top --once --interval 2
says '^demo +1 +[0-9.]+ +0.0 '
wait "$asker"
expect 1 top
complains 'no terminal'
python3 - "$legonet" <<'PY' || fail "top on a terminal"
import os, pty, select, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'xterm'
    os.execv(sys.argv[1], ['legonet', 'top', '--interval', '0.2'])
seen, end = b'', time.time() + 60
while time.time() < end and b'demo' not in seen:
    if select.select([terminal], [], [], 1)[0]:
        seen += os.read(terminal, 65536)
os.write(terminal, b'q')
try:
    while time.time() < end and os.read(terminal, 65536):
        pass
except OSError: # the program has ended
    pass
status = os.waitpid(pid, 0)[1]
sys.exit(0 if b'demo' in seen and b'REQUESTS/s' in seen and status == 0 else 1)
PY

expect 0 unload demo
expect 1 infer --model demo "$demo/pictures/cat.png"
complains 'unloaded'
expect 0 load demo
expect 0 infer --model demo "$demo/pictures/dog.png"
expect 1 load nope

timeout 120 "$example" demo >"$work/out" 2>"$work/err" || fail "the example fails"
[ "$(grep -c '^frame .*: class [0-9]' "$work/out")" = 30 ] || fail "the example did not get 30 answers"

kill "$agent"
wait "$agent" || fail "the agent does not stop cleanly"
agent=
expect 1 status
[ "$failures" = 0 ] && echo "all hold" || { echo "$failures failures"; tail -n 20 "$work/log"; }
[ "$failures" = 0 ]
