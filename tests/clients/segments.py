"""A real segmentation through the agent: MobileNet v2 without the mean over its last pixels, which then says of each of
them what it shows (class activation maps, Zhou et al., arXiv 1512.04150), on photographs. Wants LEGONET_DATA.

usage: segments.py      beside an agent, see with_agent.c; LEGONET names the tool
"""
import csv
import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import google.protobuf  # noqa: F401
    import numpy
    import onnx
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import legonet

DATA = os.environ.get("LEGONET_DATA", "/nonexistent")
NETWORK = DATA + "/models/imagenet/mobilenet_v2_1.0_224.onnx"
PHOTOS = 12
SIDE = 224  # of the input
NEAR = 1e-3  # of two scores between which rounding decides
HEAD = {"heads": [{"kind": "segmentation", "name": "objects", "output": "map", "background": 1}]}


def cut(folder):
    """The network up to the scores of each pixel, beside its preprocessing, labels and head."""
    model = onnx.load(NETWORK)
    graph = model.graph
    pool = next(node for node in graph.node if node.op_type == "AveragePool")
    scores = next(node for node in graph.node if node.input[0] == pool.output[0])
    scores.input[0], scores.output[0] = pool.input[0], "map"
    kept = [node for node in graph.node[:list(graph.node).index(scores) + 1] if node.output[0] != pool.output[0]]
    del graph.node[:]
    graph.node.extend(kept)
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info("map", onnx.TensorProto.FLOAT, ["N", 1001, 7, 7]))
    onnx.checker.check_model(model)
    onnx.save(model, folder + "/objects.onnx")
    with open(NETWORK.replace(".onnx", ".preprocess.json"), encoding="utf-8") as file:
        preprocess = file.read()
    with open(DATA + "/imagenet/imagenet_labels_1001.txt", encoding="utf-8") as file:
        labels = file.read().split("\n", 1)[1]
    for ending, text in ((".preprocess.json", preprocess), (".labels.txt", labels),
                         (".postprocess.json", json.dumps(HEAD))):
        with open(folder + "/objects" + ending, "w", encoding="utf-8") as file:
            file.write(text)


def points(mask, crop, rotation):
    """Where the middles of the mask's pixels lie in the letterboxed input, from 0 to 1: x and y, height x width each."""
    height, width = mask.values.shape
    x = mask.left + (numpy.arange(width) + .5) * (mask.right - mask.left) / width - crop[0]
    y = mask.top + (numpy.arange(height) + .5) * (mask.bottom - mask.top) / height - crop[1]
    x, y = numpy.meshgrid(x, y)
    turned = {0: (x, y), 90: (crop[3] - y, x), 180: (crop[2] - x, crop[3] - y), 270: (y, crop[2] - x)}
    x, y = turned[rotation]
    across, down = (crop[2], crop[3]) if rotation % 180 == 0 else (crop[3], crop[2])
    scale = SIDE / max(across, down)
    sides = [math.floor(side * scale + .5) for side in (across, down)]
    pads = [(SIDE - side) // 2 for side in sides]
    return (x / across * sides[0] + pads[0]) / SIDE, (y / down * sides[1] + pads[1]) / SIDE


def enlarge(scores, x, y):
    """The scores, classes x 7 x 7, at those points."""
    def between(at, size):
        at = numpy.clip(at * size - .5, 0, size - 1)
        low = at.astype(int)
        return low, numpy.minimum(low + 1, size - 1), at - low
    left, right, across = between(x, scores.shape[2])
    top, bottom, down = between(y, scores.shape[1])
    above = scores[:, top, left] * (1 - across) + scores[:, top, right] * across
    below = scores[:, bottom, left] * (1 - across) + scores[:, bottom, right] * across
    return above * (1 - down) + below * down


def check_mask(client, photo, rotation, crop):
    """Every pixel of a small mask shows the class whose enlarged score is the largest."""
    frame = legonet.Frame.of_jpeg(photo, crop=crop, rotation=rotation, resize="LETTERBOX")
    result = client.infer("objects", frames=[frame], outputs=["map"], answers={"max_mask_side": 48})
    mask = result.answers[0].mask
    assert [mask.left, mask.top, mask.right, mask.bottom] == [
        crop[0], crop[1], crop[0] + crop[2], crop[1] + crop[3]], mask
    assert max(mask.values.shape) == 48, mask.values.shape
    scores = enlarge(result["map"][0].astype(float), *points(mask, crop, rotation))
    best = scores.argmax(0)
    draw = numpy.diff(numpy.partition(scores, -2, axis=0)[-2:], axis=0)[0] < NEAR
    assert (draw | (mask.values == best)).all(), (rotation, (mask.values != best).sum())
    assert draw.mean() < .02, draw.mean()
    parts = {c.index: c.score for c in result.answers[0].classes}
    for index, part in parts.items():
        assert abs((mask.values == index + 1).mean() - part) < 1e-5, (index, part)


def main():
    if not os.path.exists(NETWORK):
        print("skipped: no MobileNet v2 in LEGONET_DATA")
        return 77
    with open(DATA + "/imagenet/labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:PHOTOS + 1]
    photos = [(DATA + "/imagenet/" + row[0], row) for row in rows]
    tool, right = os.environ["LEGONET"], 0
    with tempfile.TemporaryDirectory() as folder, legonet.Client(timeout=120) as client:
        cut(folder)
        subprocess.run([tool, "compress", folder + "/objects.onnx", "-o", os.environ["LEGONET_MODELS"] + "/objects.lego",
                        "--codec", "bricks", "--brick", "1x1", "--catalogue", "256"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client.load("objects")
        with open(photos[0][0], "rb") as file:
            photo = file.read()
        for rotation, crop in ((0, (10, 20, 200, 120)), (90, (40, 8, 150, 180)), (180, (1, 2, 211, 97)),
                               (270, (30, 30, 160, 128))):
            check_mask(client, photo, rotation, crop)
        for path, row in photos:
            shown = json.loads(subprocess.run([tool, "infer", "--model", "objects", path, "--json", "--draw",
                                               folder + "/drawn.png"], check=True, capture_output=True).stdout)
            answer = shown["answers"][0]
            assert sum(answer["mask"]["runs"][1::2]) == math.prod(answer["mask"]["size"]), path
            assert os.path.getsize(folder + "/drawn.png") > 1000
            right += str(answer["classes"][0]["index"]) == row[1]
    print(f"{right} of {PHOTOS} masks are most of what their photograph shows")
    assert right >= PHOTOS // 3, right
    return 0


if __name__ == "__main__":
    sys.exit(main())
