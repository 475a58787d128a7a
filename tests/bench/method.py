#!/usr/bin/env python3
"""Prints the tables of codec/encode/METHOD.md, from the tool itself.

usage: method.py --legonet PROGRAM --data DIR [--only codecs|ablations|others] [--jobs N]

DIR holds cifar10/test_2500.bin and models/cifar10/*.onnx; models/imagenet with imagenet/images and labels.csv; and further
models/*/NAME.onnx with vectors in NAME/test_data_set_K. Codecs (codec.py): all ratios on the CIFAR networks, measured accuracy
beside the prediction. Others (agreement.py): ratio against agreement with the full weights, data-free and, where there
are pictures, calibrated on every second one. What is not there, or not reached, has a row with its reason. --jobs: files made
at once, on a core each.
"""
import argparse
import functools
import glob
import os
import subprocess
import sys
import tempfile

import pool

STEPS = ['leaves', 'matching', 'examples', 'adaptation', 'sensitivity', 'sequence', 'residual', 'targets', 'feedback', 'scales', 'bias', 'rotation',
         'sequence,feedback']

SMALL_STEPS = ['examples', 'rotation']  # that bricks have not


def ablations(args):
    """What each step buys: ResNet-20 with one step left out at a time."""
    images = os.path.join(args.data, 'cifar10/test_2500.bin')
    model = os.path.join(args.data, 'models/cifar10/resnet20.onnx')
    print('### ResNet-20 with steps left out\n')
    if not os.path.exists(model) or not os.path.exists(images):
        print(f'Not measured: no {model} or no {images}.\n')
        return
    cases = [('bricks', '32'), ('small', '32')]
    print('| without | ' + ' | '.join(f'{c} {r}x: top-1 / KL' for c, r in cases) + ' |')
    print('|---|' + '---|' * len(cases))

    def cell(steps, codec, ratio):
        if codec == 'bricks' and steps in SMALL_STEPS:
            return ''
        out = os.path.join(args.work, f'{steps}.{codec}.{ratio}.lego')
        command = [args.legonet, 'compress', model, '-o', out, '-q', '--json', '-c', codec, '-r', ratio] + pool.threads(args.jobs)
        made, why = pool.run_json(command + (['--without', steps] if steps else []))
        if made:
            made, why = pool.run_json([args.legonet, 'eval', out, '--cifar10', images, '--against', model, '--json'])
        return f"{made['top1']:.2f} / {made['kl']:.3f}" if made else f'not reached: {why}'

    cells = pool.in_order(args.jobs, [functools.partial(cell, s, c, r) for s in [None] + STEPS for c, r in cases])
    for steps in [None] + STEPS:
        print(f"| {steps or '(nothing)'} | " + ' | '.join(next(cells) for _ in cases) + ' |', flush=True)
    print()


def script(args, name, *options):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    code = subprocess.run([sys.executable, path, '--legonet', args.legonet, '--jobs', str(args.jobs), *options]).returncode
    print(f'\nNot whole: the script ended with status {code}.\n' if code else '', flush=True)


def codecs(args):
    images = os.path.join(args.data, 'cifar10/test_2500.bin')
    models = sorted(glob.glob(os.path.join(args.data, 'models/cifar10/*.onnx')))
    print('### CIFAR-10 networks, data-free\n', flush=True)
    if not models or not os.path.exists(images):
        print(f'Not measured: no models/cifar10/*.onnx or no {images}.\n')
        return
    script(args, 'codec.py', '--cifar10', images, *models)


def others(args):
    pictures, labels = (os.path.join(args.data, 'imagenet', n) for n in ('images', 'labels.csv'))
    imagenet = sorted(glob.glob(os.path.join(args.data, 'models/imagenet/*.onnx')))
    vww = sorted(glob.glob(os.path.join(args.data, 'models/mlperf_tiny/vww*.onnx')))
    known = set(imagenet + vww + glob.glob(os.path.join(args.data, 'models/cifar10/*.onnx')))
    rest = [m for m in sorted(glob.glob(os.path.join(args.data, 'models/*/*.onnx'))) if m not in known and os.path.isdir(m[:-5])]
    with_pictures = ['--images', pictures, '--calibrate', '250']
    runs = [('Classifiers of photographs', imagenet, with_pictures + ['--labels', labels, '--ratios', '4,6,8,10,12']),
            ('A person in the picture or not', vww, with_pictures),
            ('Other inputs, on their own test vectors', rest, ['--inputs', '-'])]
    for title, models, data in runs:
        print(f'### {title}\n', flush=True)
        if not models or (data[0] == '--images' and not os.path.isdir(pictures)):
            print('Not measured: no such models or data.\n')
            continue
        script(args, 'agreement.py', *data, *models)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--data', required=True)
    parser.add_argument('--only', choices=['codecs', 'ablations', 'others'])
    parser.add_argument('--jobs', type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as args.work:
        for name, table in (('codecs', codecs), ('ablations', ablations), ('others', others)):
            if args.only in (None, name):
                table(args)


main()
