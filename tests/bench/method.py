#!/usr/bin/env python3
"""Prints the tables of codec/encode/METHOD.md, from the tool itself.

usage: method.py --legonet PROGRAM --data DIR [--only cifar|ablations|others]

DIR holds cifar10/test_2500.bin and models/cifar10/*.onnx; models/imagenet with imagenet/images and labels.csv; and further
models/*/NAME.onnx with vectors in NAME/test_data_set_K. CIFAR networks: all ratios of both codecs, measured accuracy beside the
prediction. The others (agreement.py): ratio against agreement with the full weights, data-free and, where there are
pictures, calibrated on every second one. What is not there, or not reached, has a row with its reason.
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

RATIOS = {'small': '8,12,16,20,24,32,40,64', 'bricks': '8,12,16,20,24,32'}

STEPS = ['leaves', 'matching', 'adaptation', 'sensitivity', 'sequence', 'residual', 'targets', 'feedback', 'scales', 'bias', 'rotation',
         'sequence,feedback']


def cifar(args):
    images = os.path.join(args.data, 'cifar10/test_2500.bin')
    models = sorted(glob.glob(os.path.join(args.data, 'models/cifar10/*.onnx')))
    print('### CIFAR-10 networks, data-free\n')
    if not models or not os.path.exists(images):
        print(f'Not measured: no models/cifar10/*.onnx or no {images}.\n')
        return
    print('| model | codec | asked | ratio | top-1 % | full % | lost, measured | lost, predicted | other class, predicted % | KL | s |')
    print('|---|---|---|---|---|---|---|---|---|---|---|')
    for model in models:
        name = os.path.basename(model)[:-5]
        for codec, ratios in RATIOS.items():
            done = subprocess.run([args.legonet, 'sweep', model, '-o', args.work, '--ratios', ratios, '-c', codec, '-q', '--json',
                                   '--eval', images], capture_output=True, text=True)
            if done.returncode:
                print(f'| {name} | {codec} | {ratios} | not reached: {done.stderr.strip().splitlines()[-1]} | | | | | | | |', flush=True)
                continue
            for f in json.loads(done.stdout)['files']:
                row = f"| {name} | {codec} | {f['asked']:g}x "
                if 'error' in f:
                    print(row + f"| not reached: {f['error']} | | | | | | | |")
                    continue
                m, p = f['measured'], f['predicted']
                print(row + f"| {f['ratio']:.1f}x | {m['top1']:.2f} | {m['full_top1']:.2f} | {m['full_top1'] - m['top1']:.2f} "
                      f"| {p['drop']:.2f} | {p['changed']:.1f} | {p['kl']:.3f} | {f['seconds']:.0f} |", flush=True)
    print()


def ablations(args):
    """What each step buys: ResNet-20 with one step left out at a time."""
    images = os.path.join(args.data, 'cifar10/test_2500.bin')
    model = os.path.join(args.data, 'models/cifar10/resnet20.onnx')
    print('### ResNet-20 with steps left out\n')
    if not os.path.exists(model) or not os.path.exists(images):
        print(f'Not measured: no {model} or no {images}.\n')
        return
    out = os.path.join(args.work, 'ablation.lego')
    cases = [('bricks', '16'), ('bricks', '32'), ('small', '28'), ('small', '64')]
    print('| without | ' + ' | '.join(f'{c} {r}x: top-1 / KL' for c, r in cases) + ' |')
    print('|---|' + '---|' * len(cases))
    for steps in [None] + STEPS:
        cells = []
        for codec, ratio in cases:
            if codec == 'bricks' and steps == 'rotation':
                cells.append('')
                continue
            command = [args.legonet, 'compress', model, '-o', out, '-q', '-c', codec, '-r', ratio] + (['--without', steps] if steps else [])
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                cells.append('not reached: ' + done.stderr.strip().splitlines()[-1])
                continue
            found = subprocess.run([args.legonet, 'eval', out, '--cifar10', images, '--against', model, '--json'], capture_output=True,
                                   text=True, check=True)
            result = json.loads(found.stdout)
            cells.append(f"{result['top1']:.2f} / {result['kl']:.3f}")
        print(f"| {steps or '(nothing)'} | " + ' | '.join(cells) + ' |', flush=True)
    print()


def others(args):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'agreement.py')
    pictures, labels = (os.path.join(args.data, 'imagenet', n) for n in ('images', 'labels.csv'))
    imagenet = sorted(glob.glob(os.path.join(args.data, 'models/imagenet/*.onnx')))
    vww = sorted(glob.glob(os.path.join(args.data, 'models/mlperf_tiny/vww*.onnx')))
    known = set(imagenet + vww + glob.glob(os.path.join(args.data, 'models/cifar10/*.onnx')))
    rest = [m for m in sorted(glob.glob(os.path.join(args.data, 'models/*/*.onnx'))) if m not in known]
    with_pictures = ['--images', pictures]
    runs = [('Classifiers of photographs', imagenet, with_pictures + ['--labels', labels], True),
            ('A person in the picture or not', vww, with_pictures, True),
            ('Other inputs, on their own test vectors', rest, ['--inputs', '-'], False)]
    for title, models, data, calibrate in runs:
        for how in [[], ['--calibrate', '256']] if calibrate else [[]]:
            print(f"### {title}, {'calibrated' if how else 'data-free'}\n", flush=True)
            if not models or (data[0] == '--images' and not os.path.isdir(pictures)):
                print('Not measured: no such models or data.\n')
                continue
            code = subprocess.run([sys.executable, script, '--legonet', args.legonet] + data + how + models).returncode
            print(f'\nNot whole: the script ended with status {code}.\n' if code else '', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--data', required=True)
    parser.add_argument('--only', choices=['cifar', 'ablations', 'others'])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as args.work:
        for name, table in (('cifar', cifar), ('ablations', ablations), ('others', others)):
            if args.only in (None, name):
                table(args)


main()
