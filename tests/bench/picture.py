#!/usr/bin/env python3
"""Pictures of 1080p to a 224x224 RGB input, one thread: this project, which normalises it, too, beside
OpenCV's imdecode or cvtColor, resize and convertTo (Debian's python3-opencv), in turns; the fastest of
all runs in ms of CPU time, so that other work on the machine matters little.

usage: picture.py PICTURE_BENCH [--rounds N]
"""
import argparse
import subprocess
import tempfile
import time

import cv2
import numpy


TO_RGB = {"NV12": lambda frame: cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12),
          "RGB": lambda frame: frame,
          "MJPEG": lambda frame: cv2.cvtColor(cv2.imdecode(frame, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)}
# Frame, our filter, what OpenCV's resize is told.
PAIRS = [("NV12", "model", "INTER_LINEAR"), ("NV12", "area", "INTER_AREA"), ("NV12", "bilinear", "INTER_LINEAR"),
         ("RGB", "model", "INTER_LINEAR"), ("RGB", "area", "INTER_AREA"), ("RGB", "bilinear", "INTER_LINEAR"),
         ("MJPEG", "model", "INTER_LINEAR")]


def opencv(frame, to_rgb, interpolation, runs):
    times = []
    for _ in range(runs):
        start = time.process_time()
        small = cv2.resize(to_rgb(frame), (224, 224), interpolation=interpolation)
        cv2.multiply(small, (1 / 255.0,) * 4, dtype=cv2.CV_32F)  # convertTo; no means taken off
        times.append(time.process_time() - start)
    return min(times) * 1e3


def frames():
    draw = numpy.random.default_rng(7)
    coarse = draw.integers(0, 256, (34, 60, 3), dtype=numpy.uint8)
    _, jpeg = cv2.imencode(".jpg", cv2.resize(coarse, (1920, 1080), interpolation=cv2.INTER_CUBIC))
    return {"NV12": draw.integers(0, 256, (1620, 1920), dtype=numpy.uint8),
            "RGB": draw.integers(0, 256, (1080, 1920, 3), dtype=numpy.uint8), "MJPEG": jpeg}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    made = frames()
    print(f"OpenCV {cv2.__version__}")
    print("| frame | filter | ms | OpenCV's | ms | times faster |\n|---|---|---|---|---|---|")
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(made["MJPEG"].tobytes())
        file.flush()
        names = {"NV12": "nv12", "RGB": "rgb", "MJPEG": file.name}
        for kind, filter_name, interpolation in PAIRS:
            ours, theirs = [], []
            for _ in range(options.rounds):
                out = subprocess.run([options.program, filter_name, "40", names[kind]], check=True, text=True,
                                     capture_output=True).stdout
                ours.append(float(out) / 1e3)
                theirs.append(opencv(made[kind], TO_RGB[kind], getattr(cv2, interpolation), 20))
            print(f"| {kind} | {filter_name} | {min(ours):.2f} | {interpolation} | {min(theirs):.2f} | "
                  f"{min(theirs) / min(ours):.1f} |")


if __name__ == "__main__":
    main()
