#!/usr/bin/env bash
# legonet infer finds the faces that BlazeFace's vectors are made from and draws boxes; wants LEGONET_DATA.
# usage: faces.sh POSTPROCESS CAMERA      beside an agent (with_agent.c)
set -euo pipefail
blazeface=${LEGONET_DATA:-/nonexistent}/models/npm/blazeface_front_128
[ -f "$blazeface.onnx" ] || { echo "skipped: no BlazeFace in LEGONET_DATA"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$LEGONET" compress "$blazeface.onnx" -o "$LEGONET_MODELS/faces.lego" --codec bricks --brick 1x1 --catalogue 256 \
    --postprocess "$1" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$LEGONET" load faces
python3 - "$blazeface/test_data_set_0/input_0.pb" "$work/face.png" "$work/face.y4m" <<'END'
import array, struct, sys, zlib
values = array.array("f", open(sys.argv[1], "rb").read()[-128 * 128 * 3 * 4:])
pixels = bytes(round(127.5 * v + 127.5) for v in values)
rows = b"".join(b"\0" + pixels[384 * y:384 * (y + 1)] for y in range(128))
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
open(sys.argv[2], "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 128, 8, 2, 0, 0, 0)) +
                              chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
open(sys.argv[3], "wb").write(b"YUV4MPEG2 W128 H128 Cmono XCOLORRANGE=FULL\nFRAME\n" + pixels[1::3])
END
"$LEGONET" infer --model faces "$work/face.png" --draw "$work/drawn.png" | tee "$work/out"
grep -q ' box ' "$work/out"
"$LEGONET" infer --model faces "$work/face.png" --json | python3 -c '
import json, sys
faces = json.load(sys.stdin)["answers"][0]["detections"]
left, top, right, bottom = faces[0]["box"]
assert faces[0]["score"] > 0.5 and -20 < left < right < 148 and -20 < top < bottom < 148, faces
assert len(faces[0]["keypoints"]) == 6, faces
assert all(left < x < right for x, y, _ in faces[0]["keypoints"][:4]), faces'
cmp -s "$work/face.png" "$work/drawn.png" && { echo "nothing was drawn"; exit 1; }
"$2" faces "$work/face.y4m" 1 "$work/camera.png" | tee "$work/out"
grep -q '^frame 0: [1-9] boxes$' "$work/out"
echo "all hold"
