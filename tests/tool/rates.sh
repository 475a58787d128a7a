#!/usr/bin/env bash
# Rates, calibration and bad input of compress, on small models that are made here.
set -euo pipefail
. "$(dirname "$0")/common.sh" "$@"

make() { python3 "$(dirname "$0")/onnx_model.py" "$@"; }

# refused PATTERN ARGUMENT...: exit status 1 or 2, no file, and a sentence that matches.
refused() {
    local pattern=$1 code=0
    shift
    rm -f "$work/x.lego"
    "$legonet" compress "$@" -o "$work/x.lego" -q >"$work/out" 2>"$work/err" || code=$?
    [ "$code" = 1 ] || [ "$code" = 2 ] || { cat "$work/err"; fail "status $code: compress $*"; }
    grep -q -e "$pattern" "$work/err" || { cat "$work/err"; fail "no '$pattern': compress $*"; }
    [ ! -e "$work/x.lego" ] || fail "a file was left: compress $*"
}

# made ARGUMENT...: a file that verifies; the report lies in $work/report.
made() {
    "$legonet" compress "$@" -o "$work/m.lego" -q --json >"$work/report" 2>"$work/err" ||
        { cat "$work/err"; fail "compress $*"; }
    "$legonet" verify "$work/m.lego" >/dev/null || fail "verify after compress $*"
}

for kind in good none nan inf huge dead empty noise; do make model "$kind" "$work/$kind.onnx"; done
good=$work/good.onnx

# Rates: the file keeps to them, two of them exclude one another.
for codec in bricks small; do
    made "$good" -c "$codec" --ratio 4
    within "$(json "$work/report" ratio)" 4 8 || fail "$codec: ratio $(json "$work/report" ratio)"
    made "$good" -c "$codec" --size 3K
    within "$(stat -c %s "$work/m.lego")" 1000 3072 || fail "$codec: --size 3K: $(stat -c %s "$work/m.lego")"
    made "$good" -c "$codec" --bits 10
    within "$(json "$work/report" bits_per_weight)" 3 10 || fail "$codec: --bits 10"
    python3 - "$work/report" <<'PY' || fail "$codec: the report lacks a prediction"
import json, sys
r = json.load(open(sys.argv[1]))
assert 'textured leaves' in r['calibration'], r['calibration']
assert r['predicted']['examples'] == 256 and 0 <= r['predicted']['drop'] <= 100, r['predicted']
assert all(l['calibrated'] and l['format'] for l in r['layers']) and len(r['layers']) == 3
PY
done
refused 'no step .luck' "$good" --ratio 4 --without bias,luck
refused 'exclude one another' "$good" --ratio 4 --size 3K
refused 'exclude one another' "$good" --bits 4 --max-drop 1
refused "not '64Q'" "$good" --size 64Q
refused 'none of the options of plain' "$good" -c small --brick 1x1
refused 'are for plain ones' "$good" --ratio 4 --brick 1x1
refused 'too small' "$good" --size 200

# A limit on the loss: looser ones give no larger files, and what is predicted keeps to it.
made "$good" --max-drop 5
loose=$(stat -c %s "$work/m.lego")
python3 -c 'import json, sys; p = json.load(open(sys.argv[1])); assert p["predicted"]["drop"] <= 5 and p["tried"] > 1' \
    "$work/report" || fail "--max-drop 5: $(cat "$work/report")"
made "$good"
python3 -c 'import json, sys; p = json.load(open(sys.argv[1])); assert p["predicted"]["drop"] <= 0.3' "$work/report" ||
    fail "no rate: $(cat "$work/report")"
[ "$loose" -le "$(stat -c %s "$work/m.lego")" ] || fail "--max-drop 5 made the larger file"

# Real examples: good ones are used, others skipped with a warning, none left is an error.
mkdir "$work/real" "$work/broken" "$work/nothing"
for i in $(seq 48); do make tensor good "$work/real/$i.pb"; done
make tensor nan "$work/real/bad-nan.pb"
make tensor shape "$work/real/bad-shape.pb"
head -c 100 "$work/real/1.pb" >"$work/real/bad-cut.pb"
cp "$work"/real/bad-* "$work/broken"
made "$good" --ratio 4 --calibrate "$work/real"
for name in bad-nan bad-shape bad-cut; do
    grep -q "warning: skipped for calibration: .*$name" "$work/err" || { cat "$work/err"; fail "no warning for $name"; }
done
python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); assert r["skipped_examples"] == 3 and r["predicted"]["examples"] == 12' \
    "$work/report" || fail "--calibrate: $(cat "$work/report")"
refused 'none of its 3 examples' "$good" --ratio 4 --calibrate "$work/broken"
refused 'no example in it' "$good" --ratio 4 --calibrate "$work/nothing"
refused 'No such file' "$good" --ratio 4 --calibrate "$work/absent"
refused 'does not say how a picture' "$good" --ratio 4 --calibrate "$demo/pictures"
mkdir "$work/pictures"
cp "$demo"/pictures/* "$work/pictures"
head -c 60 "$(ls "$demo"/pictures/*.png | head -1)" >"$work/pictures/cut.png"
echo '{"layout": "NCHW", "channels": "RGB", "width": 16, "height": 16, "scale": 0.00392, "mean": [0, 0, 0], "std": [1, 1, 1]}' \
    >"$work/preprocess.json"
made "$good" --ratio 4 --calibrate "$work/pictures" --preprocess "$work/preprocess.json"
grep -q 'warning: skipped.*cut.png' "$work/err" || { cat "$work/err"; fail "no warning for cut.png"; }

# A sweep shares its calibration, says what it cannot reach, and its page runs nothing and escapes names.
make model named "$work/named.onnx"
"$legonet" sweep "$work/named.onnx" -o "$work/sweep" --ratios 3,4,40 --calibrate "$work/real" -q --json \
    --eval "$work/real" --report "$work/sweep.html" >"$work/report" 2>"$work/err" && code=0 || code=$?
[ "$code" = 1 ] && grep -q 'bad-' "$work/err" || fail "--eval of a broken folder: status $code"
rm "$work"/real/bad-*
"$legonet" sweep "$work/named.onnx" -o "$work/sweep" --ratios 3,4,40 --calibrate "$work/real" -q --json \
    --eval "$work/real" --report "$work/sweep.html" >"$work/report" 2>"$work/err" || { cat "$work/err"; fail "sweep"; }
python3 - "$work" <<'PY' || fail "sweep: $(cat "$work/report")"
import html.parser, json, os, sys
files = json.load(open(sys.argv[1] + '/report'))['files']
assert [f['asked'] for f in files] == [3, 4, 40]
assert all(os.path.getsize(f['file']) == f['file_bytes'] and f['measured']['images'] == 48 for f in files[:2])
assert files[0]['file_bytes'] > files[1]['file_bytes'] and 'too small' in files[2]['error']

class Page(html.parser.HTMLParser):
    tags, open, text = set(), [], ''
    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not any(name.startswith('on') or name in ('src', 'href') for name, _ in attributes), attributes
    def handle_data(self, data):
        self.text += data

page = Page()
page.feed(open(sys.argv[1] + '/sweep.html').read())
assert 'script' not in page.tags and {'svg', 'table', 'rect', 'path'} <= page.tags, page.tags
assert '</td><script>alert(1)</script>&"\'' in page.text and 'not made: ' in page.text
PY

# Inputs that are no pictures; models that are none.
made "$work/noise.onnx" --ratio 3
grep -q 'noise of deviation' "$work/report" || fail "noise is not named"
refused 'no weights' "$work/none.onnx" --ratio 4
refused 'no weights' "$work/none.onnx"
for codec in bricks small; do
    refused "'second'" "$work/nan.onnx" -c "$codec" --ratio 4
    refused "'second'" "$work/inf.onnx" -c "$codec" --ratio 4
    made "$work/dead.onnx" -c "$codec" --ratio 4
    for kind in huge empty; do # a file that verifies, or a sentence
        if "$legonet" compress "$work/$kind.onnx" -c "$codec" --ratio 4 -o "$work/m.lego" -q >/dev/null 2>"$work/err"; then
            "$legonet" verify "$work/m.lego" >/dev/null || fail "verify: $kind"
        else
            [ $? = 1 ] && grep -q '^legonet compress: ' "$work/err" || { cat "$work/err"; fail "$codec: $kind"; }
        fi
    done
done
refused "'second'" "$work/nan.onnx"
echo "rates, calibration and bad input: good"
