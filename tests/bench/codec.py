#!/usr/bin/env python3
"""Prints the README's table of codecs: the real file ratio and the accuracy that is left.

usage: codec.py --legonet PROGRAM --cifar10 DATA.bin MODEL.onnx ...
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

CODECS = [
    ('the paper\'s method, K = 16', ['--codec', 'legonet', '--catalogue', '16']),
    ('the paper\'s method, K = 32', ['--codec', 'legonet', '--catalogue', '32']),
    ('the paper\'s method, K = 256', ['--codec', 'legonet', '--catalogue', '256']),
    ('bricks 1x1, K = 16, one catalogue', ['--codec', 'bricks', '--brick', '1x1', '--catalogue', '16', '--scope', 'model']),
    ('bricks 1x1, K = 16, a catalogue a layer', ['--codec', 'bricks', '--brick', '1x1', '--catalogue', '16', '--scope', 'layer']),
    ('bricks 2x1, K = 256, a catalogue a layer', ['--codec', 'bricks', '--brick', '2x1', '--catalogue', '256', '--scope', 'layer']),
] + [(f'bricks, --ratio {r}', ['--codec', 'bricks', '--ratio', str(r)]) for r in (8, 12, 16, 20, 24, 32)] + [(f'small, --ratio {r}', ['--codec', 'small', '--ratio', str(r)]) for r in (8, 12, 16, 20, 24, 32, 40, 64)]


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)}: {done.stderr.strip()}')
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--cifar10', required=True)
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    top1 = lambda path: run_json([args.legonet, 'eval', path, '--cifar10', args.cifar10, '--json'])['top1']
    print('| model | codec | ratio | top-1 % | fp32 top-1 % |')
    print('|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'model.lego')
        for model in args.models:
            full = top1(model)
            for name, options in CODECS:
                report = run_json([args.legonet, 'compress', model, '-o', out, '--json'] + options)
                print(f"| {os.path.basename(model)[:-5]} | {name} | {report['ratio']:.1f}x | {top1(out):.2f} | {full:.2f} |", flush=True)


main()
