#!/usr/bin/env python3
"""1080p NV12 to a 224x224 RGB input, one thread: this project, which normalises it, too, beside
OpenCV's cvtColor, resize and convertTo (Debian's python3-opencv), in turns; medians in ms.

usage: picture.py PICTURE_BENCH [--rounds N]
"""
import argparse
import statistics
import subprocess
import time

import cv2
import numpy


def opencv(frame, interpolation, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        rgb = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12)
        small = cv2.resize(rgb, (224, 224), interpolation=interpolation)
        cv2.multiply(small, (1 / 255.0,) * 4, dtype=cv2.CV_32F)  # convertTo; no means taken off
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    frame = numpy.random.default_rng(7).integers(0, 256, (1620, 1920), dtype=numpy.uint8)
    pairs = [("model", "INTER_LINEAR", cv2.INTER_LINEAR), ("area", "INTER_AREA", cv2.INTER_AREA),
             ("bilinear", "INTER_LINEAR", cv2.INTER_LINEAR)]
    print(f"OpenCV {cv2.__version__}")
    print("| filter | ms | OpenCV's | ms | times faster |\n|---|---|---|---|---|")
    for filter_name, name, interpolation in pairs:
        ours, theirs = [], []
        for _ in range(options.rounds):
            out = subprocess.run([options.program, filter_name, "60"], check=True, text=True,
                                 capture_output=True).stdout
            ours.append(float(out) / 1e3)
            theirs.append(opencv(frame, interpolation, 20))
        ratios = [b / a for a, b in zip(ours, theirs)]
        print(f"| {filter_name} | {statistics.median(ours):.2f} | {name} | "
              f"{statistics.median(theirs):.2f} | {statistics.median(ratios):.1f} |")


if __name__ == "__main__":
    main()
