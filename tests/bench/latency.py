#!/usr/bin/env python3
"""Prints the README's latency table: this runtime beside onnxruntime-node, alternating in one run.

usage: latency.py --legonet PROGRAM --ort NODE_MODULES [--threads 1,2] [--runs 100] [--rounds 5]
                  [--compress='--codec bricks --ratio 16'] MODEL.onnx ...

Each round runs both programs once; the figures are medians over the rounds of each process's median. Memory is the
peak of the resident set, for onnxruntime without what the bare node process takes. Models are run as ONNX (fp32
weights) and as the `.lego` that --compress makes: plain bricks (1x1, K = 16), whose weights stay compressed, unless it
says otherwise.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile


def median(values):
    return sorted(values)[len(values) // 2]


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)}: {done.stderr.strip()}')
    return json.loads(done.stdout)


def compress(args, model, folder):
    out = os.path.join(folder, os.path.basename(model)[:-5] + '.lego')
    run_json([args.legonet, 'compress', model, '-o', out, '--json'] + args.compress.split())
    return out


def measure(args, model, lego, threads):
    here = os.path.dirname(os.path.abspath(__file__))
    ours = lambda path: run_json([args.legonet, 'bench', path, '--threads', threads, '--runs', str(args.runs), '--json'])
    peer = lambda: run_json(['node', os.path.join(here, 'onnxruntime.js'), os.path.abspath(args.ort), os.path.abspath(model),
                             threads, str(args.runs)])
    rounds = [(ours(model), ours(lego), peer()) for _ in range(args.rounds)]
    figure = lambda which, key: median([r[which][key] for r in rounds])
    net = median([r[2]['peak_rss_bytes'] - r[2]['bare_rss_bytes'] for r in rounds])
    base = figure(2, 'median_us')
    print(f"| {os.path.basename(model)[:-5]} | {threads} | {figure(0, 'median_us') / 1e3:.2f} | {figure(1, 'median_us') / 1e3:.2f} "
          f"| {base / 1e3:.2f} | {figure(0, 'median_us') / base:.2f} | {figure(1, 'median_us') / base:.2f} "
          f"| {figure(1, 'load_us') / 1e3:.1f} / {figure(2, 'load_us') / 1e3:.1f} "
          f"| {figure(1, 'peak_rss_bytes') / 1e6:.0f} / {net / 1e6:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--ort', required=True)
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--runs', type=int, default=100)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--compress', default='--codec bricks --brick 1x1 --catalogue 16')
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    print('| model | threads | .onnx ms | .lego ms | onnxruntime ms | ratio .onnx | ratio .lego | load ms, .lego / onnxruntime '
          '| peak memory MB, .lego / onnxruntime |')
    print('|---|---|---|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            lego = compress(args, model, folder)
            for threads in args.threads.split(','):
                measure(args, model, lego, threads)


main()
