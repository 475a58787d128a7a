#!/usr/bin/env python3
"""Prints a table of what is left of models at several ratios: how far compressed ones are from their full weights.

usage: agreement.py --legonet PROGRAM (--images DIR [--labels FILE.csv] | --inputs DIR) [--calibrate N]
                    [--codecs bricks,small] [--ratios 4,6,8,12] MODEL.onnx ...

--images takes a folder of pictures, with --labels top-1 is measured beside the agreement; --inputs a folder of tensors
(.pb, .npy; ONNX's test_data_set_K too) for models that take no pictures, or their model's own vectors where DIR is -.
With --calibrate every second picture, at most N of them, calibrates the codecs, and the others measure all rows;
without it no codec sees any. A ratio that a codec refuses has a row with the reason.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile


def run_json(command):
    """The JSON that a command prints, or the reason why it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ['no reason given'])[-1]
    return json.loads(done.stdout), None


def split_pictures(folder, limit, work):
    """Two folders of links: every second picture, at most `limit`, to calibrate, and the others to measure."""
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith(('.png', '.jpg', '.jpeg')))
    parts = {'calibrate': names[::2][:limit], 'measure': names[1::2]}
    for part, chosen in parts.items():
        os.mkdir(os.path.join(work, part))
        for name in chosen:
            os.symlink(os.path.abspath(os.path.join(folder, name)), os.path.join(work, part, name))
    return os.path.join(work, 'calibrate'), os.path.join(work, 'measure')


def keep_labels(path, folder, work):
    """The labels of the pictures that are in the folder."""
    there = set(os.listdir(folder))
    out = os.path.join(work, 'labels.csv')
    with open(path) as lines, open(out, 'w') as kept:
        header = next(lines)
        kept.write(header)
        column = header.strip().split(',').index('file')
        kept.writelines(line for line in lines if os.path.basename(line.split(',')[column]) in there)
    return out


def show(value, form):
    return '' if value is None else format(value, form)


def measure(args, model, data, codec, ratio, calibrate, out):
    options = ['--codec', codec, '--ratio', ratio, '--json', '--quiet'] + (['--calibrate', calibrate] if calibrate else [])
    report, why = run_json([args.legonet, 'compress', model, '-o', out] + options)
    result = None
    if report:
        result, why = run_json([args.legonet, 'eval', out, '--against', model, '--json'] + data)
    row = [os.path.basename(model)[:-5], codec, 'pictures' if calibrate else 'none', ratio + 'x']
    if not result:
        return row + ['', '', '', '', '', why.replace('|', '/')]
    return row + [f"{report['ratio']:.1f}x", show(result['top1'], '.1f'), show(result['agreement'], '.1f'),
                  show(result['kl'], '.3f'), show(result['output_error'], '.3f'), '']


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument('--images')
    data.add_argument('--inputs')
    parser.add_argument('--labels')
    parser.add_argument('--calibrate', type=int, default=0)
    parser.add_argument('--codecs', default='bricks,small')
    parser.add_argument('--ratios', default='4,6,8,12')
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    if args.calibrate and not args.images:
        parser.error('--calibrate goes with --images')
    print('| model | codec | data seen | asked | ratio | top-1 % | same class % | KL | output error | |')
    print('|---|---|---|---|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as work:
        images, labels, calibrate = args.images, args.labels, None
        if args.calibrate:
            calibrate, images = split_pictures(images, args.calibrate, work)
            labels = labels and keep_labels(labels, images, work)
        for model in args.models:
            where = (['--images', images] + (['--labels', labels] if labels else []) if images else
                     ['--inputs', model[:-5] if args.inputs == '-' else args.inputs])
            full, why = run_json([args.legonet, 'eval', model, '--against', model, '--json'] + where)
            if not full:
                sys.exit(f'{model}: {why}')
            print(f"| {os.path.basename(model)[:-5]} | full weights | | | | {show(full['top1'], '.1f')} | | | | |")
            for codec in args.codecs.split(','):
                for ratio in args.ratios.split(','):
                    for source in [None, calibrate] if calibrate else [None]:
                        row = measure(args, model, where, codec, ratio, source, os.path.join(work, 'm.lego'))
                        print('| ' + ' | '.join(row) + ' |', flush=True)


main()
