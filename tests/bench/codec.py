#!/usr/bin/env python3
"""Prints the README's table of codecs: the real file ratio, the accuracy that is left, what was predicted.

usage: codec.py --legonet PROGRAM --cifar10 DATA.bin [--jobs N] MODEL.onnx ...

--jobs: files made at once, on a core each.
"""
import argparse
import functools
import os
import tempfile

import pool

CODECS = [
    ('the paper\'s method, K = 16', ['--codec', 'legonet', '--catalogue', '16']),
    ('the paper\'s method, K = 32', ['--codec', 'legonet', '--catalogue', '32']),
    ('the paper\'s method, K = 256', ['--codec', 'legonet', '--catalogue', '256']),
    ('bricks 1x1, K = 16, one catalogue', ['--codec', 'bricks', '--brick', '1x1', '--catalogue', '16', '--scope', 'model']),
    ('bricks 1x1, K = 16, a catalogue a layer', ['--codec', 'bricks', '--brick', '1x1', '--catalogue', '16', '--scope', 'layer']),
    ('bricks 2x1, K = 256, a catalogue a layer', ['--codec', 'bricks', '--brick', '2x1', '--catalogue', '256', '--scope', 'layer']),
] + [(f'{codec}, --ratio {r}', ['--codec', codec, '--ratio', str(r)])
     for codec, ratios in (('bricks', (8, 12, 16, 20, 24, 32)), ('small', (8, 12, 16, 20, 24, 32, 40, 64))) for r in ratios]


def measure(args, model, index):
    name, options = CODECS[index]
    out = os.path.join(args.work, f'{os.path.basename(model)}.{index}.lego')
    row = f'| {os.path.basename(model)[:-5]} | {name} '
    made, why = pool.run_json([args.legonet, 'compress', model, '-o', out, '-q', '--json'] + options + pool.threads(args.jobs))
    found = None
    if made:
        found, why = pool.run_json([args.legonet, 'eval', out, '--cifar10', args.cifar10, '--against', model, '--json'])
    if not found:
        return row + f'| not reached: {why} | | | | |'
    predicted = made.get('predicted')
    return row + (f"| {made['ratio']:.1f}x | {found['top1']:.2f} | {args.full[model] - found['top1']:.2f} | {found['kl']:.3f} "
                  f"| {format(predicted['drop'], '.2f') if predicted else ''} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--cifar10', required=True)
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    args.full = {}
    for model in args.models:
        full, why = pool.run_json([args.legonet, 'eval', model, '--cifar10', args.cifar10, '--json'])
        if not full:
            parser.exit(1, f'{model}: {why}\n')
        args.full[model] = full['top1']
        print(f"{os.path.basename(model)[:-5]}: full weights {full['top1']:.2f} %", flush=True)
    print('\n| model | codec | ratio | top-1 % | points lost | KL | lost, predicted |\n|---|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as args.work:
        for row in pool.in_order(args.jobs, [functools.partial(measure, args, m, i) for m in args.models for i in range(len(CODECS))]):
            print(row, flush=True)


main()
