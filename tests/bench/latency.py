#!/usr/bin/env python3
"""Prints the README's latency table: this runtime beside onnxruntime-node, alternating in one run.

usage: latency.py --legonet PROGRAM --ort NODE_MODULES [--threads 1,2] [--seconds 0.5] [--rounds 5]
                  [--compress='--codec bricks --ratio 16'] [--lego FOLDER] [--fastest] MODEL.onnx[;NAME=1,2,3][;NAME:=NUMBER] ...

A model may come with shapes of its open inputs and numbers for its integer ones.
Each round runs every program once, for about --seconds of inference; the figures are medians over the rounds of each
process's median, ratios those of such medians; --fastest takes the fastest inference of all rounds instead, for machines
that others use. Models are run as ONNX (fp32 weights), as the `.lego` that --compress
makes (4x1 bricks, K = 256, about 16 times smaller, unless it says otherwise; --lego keeps them in a folder and takes
those that are there), and as that `.lego` in integers. Ready is from nothing to a session that allocates no more, for
onnxruntime InferenceSession.create. Memory is the peak of the whole process, of the `.lego` in fp32, for onnxruntime
without what the bare node process takes.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HEAD = ('model', 'threads', 'onnxruntime ms', '.onnx ms', '.lego ms', '.lego int8 ms', '.onnx / ort', '.lego / ort', 'int8 / ort',
        '.lego / .onnx', 'ready ms, .lego / ort', 'peak memory MB, .lego / ort')
PROBE_RUNS, LEAST_RUNS, MOST_RUNS = 5, 5, 5000


def median(values):
    return sorted(values)[len(values) // 2]


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)}: {done.stderr.strip()}')
    return json.loads(done.stdout)


def compress(args, model, folder):
    model = model.split(';')[0]
    out = os.path.join(folder, os.path.basename(model)[:-5] + '.lego')
    if not os.path.exists(out):
        run_json([args.legonet, 'compress', model, '-o', out, '--json'] + args.compress.split())
    return out


def measure(args, model, lego, threads):
    here = os.path.dirname(os.path.abspath(__file__))
    model, *inputs = model.split(';')
    options = [word for text in inputs
               for word in (('--input-value', text.replace(':=', '=', 1)) if ':=' in text else ('--input-shape', text))]

    def ours(path, runs, compute='fp32'):
        return run_json([args.legonet, 'bench', path, '--threads', threads, '--runs', str(runs), '--compute', compute, '--json'] + options)

    def peer(runs):
        return run_json(['node', os.path.join(here, 'onnxruntime.js'), os.path.abspath(args.ort), os.path.abspath(model), threads,
                         str(runs)] + inputs)

    runs = int(args.seconds * 1e6 / ours(model, PROBE_RUNS)['median_us'])
    runs = min(max(runs, LEAST_RUNS), MOST_RUNS)
    rounds = [(ours(model, runs), ours(lego, runs), ours(lego, runs, 'int8'), peer(runs)) for _ in range(args.rounds)]

    def figure(which, key):
        return median([r[which][key] for r in rounds])

    def latency(which):
        return min(r[which]['min_us'] for r in rounds) if args.fastest else figure(which, 'median_us')

    onnx, coded, integers, ort = (latency(which) / 1e3 for which in range(4))
    net = median([r[3]['peak_rss_bytes'] - r[3]['bare_rss_bytes'] for r in rounds])
    row = (os.path.basename(model)[:-5], threads, f'{ort:.2f}', f'{onnx:.2f}', f'{coded:.2f}', f'{integers:.2f}', f'{onnx / ort:.2f}',
           f'{coded / ort:.2f}', f'{integers / ort:.2f}', f'{coded / onnx:.2f}',
           f'{figure(1, "ready_us") / 1e3:.1f} / {figure(3, "load_us") / 1e3:.0f}',
           f'{figure(1, "peak_rss_bytes") / 1e6:.1f} / {net / 1e6:.0f}')
    print(f'| {" | ".join(row)} |', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--ort', required=True)
    parser.add_argument('--threads', default='1,2')
    parser.add_argument('--seconds', type=float, default=0.5)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--compress', default='--codec bricks --brick 4x1 --catalogue 256')
    parser.add_argument('--lego')
    parser.add_argument('--fastest', action='store_true')
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    print(f'| {" | ".join(HEAD)} |\n|{"---|" * len(HEAD)}')
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            lego = compress(args, model, args.lego or folder)
            for threads in args.threads.split(','):
                measure(args, model, lego, threads)


main()
