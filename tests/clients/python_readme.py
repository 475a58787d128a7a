#!/usr/bin/env python3
"""Runs every block of Python in the client's README beside an agent, in order, as a reader would type them.

usage: python_readme.py README.md      LEGONET names the tool, LEGONET_SOCKET and LEGONET_MODELS the agent that serves demo
"""
import ast
import asyncio
import contextlib
import fcntl
import inspect
import io
import json
import os
import re
import select
import subprocess
import sys
import tempfile

try:
    import google.protobuf  # noqa: F401
    import numpy
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import legonet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tool"))
import onnx_model  # noqa: E402

WIDTH, HEIGHT = 24, 16  # of the pictures that the small models take
DETECTION = {"kind": "detection", "scores": "y", "boxes": "y", "layout": "rows", "box_at": 1, "order": "xyxy",
             "keypoints": 2, "keypoint_at": 5, "keypoint_values": 2}
SEGMENTATION = {"kind": "segmentation", "output": "y"}


def serve(name, head, labels):
    """Has the agent serve a model whose output is the picture as it comes in, described by that head."""
    with tempfile.TemporaryDirectory() as folder:
        texts = {"preprocess": {"input": "x", "layout": "NCHW", "channels": "RGB", "width": WIDTH, "height": HEIGHT,
                                "scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1], "resize": "stretch"},
                 "postprocess": {"heads": [head]}}
        dims = [1, 3, HEIGHT, WIDTH]
        with open(f"{folder}/{name}.onnx", "wb") as file:
            identity = onnx_model.tensor("w", [3, 3, 1, 1], [1, 0, 0, 0, 1, 0, 0, 0, 1])
            file.write(onnx_model.model([onnx_model.node("Conv", ["x", "w"], "y")], [identity],
                                        [onnx_model.value("x", dims)], [onnx_model.value("y", dims)]))
        for kind, text in texts.items():
            with open(f"{folder}/{name}.{kind}.json", "w", encoding="utf-8") as file:
                json.dump(text, file)
        with open(f"{folder}/{name}.labels.txt", "w", encoding="utf-8") as file:
            file.write("\n".join(labels) + "\n")
        subprocess.run([os.environ["LEGONET"], "compress", "-q", f"{folder}/{name}.onnx", "--codec", "bricks",
                        "--brick", "1x1", "-o", os.path.join(os.environ["LEGONET_MODELS"], f"{name}.lego")], check=True)
    with legonet.Client() as client:
        client.load(name)


def camera(nbytes):
    """A descriptor of sealed memory, as a reader's camera would have one."""
    fd = os.memfd_create("camera", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, nbytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return fd


def run(number, text, names):
    """Runs a block; its last prints are what the reader sees."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = compile(text, f"block {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    if "print(" in text and not printed.getvalue().strip():
        raise SystemExit(f"block {number} prints nothing:\n{text}")
    print(f"block {number}: {len(text.splitlines())} lines, {len(printed.getvalue().splitlines())} printed")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        blocks = re.findall(r"^```python\n(.*?)^```$", file.read(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6, f"{len(blocks)} blocks"
    serve("faces", DETECTION, ["face"])
    serve("roads", SEGMENTATION, ["sky", "road", "grass"])
    rgb = numpy.full((48, 64, 3), 200, "u1")
    names = {"asyncio": asyncio, "legonet": legonet, "numpy": numpy, "select": select, "rgb": rgb,
             "array": numpy.zeros((1, 3, 32, 32), "f4"), "dma_buf_fd": camera(1920 * 1080 * 3 // 2)}
    names["frames"] = [names["array"]] * 3
    with legonet.Client() as client:
        for number, text in enumerate(blocks, 1):
            run(number, text, dict(names, client=client, frame=legonet.Frame.of_array(rgb)))


if __name__ == "__main__":
    main()
