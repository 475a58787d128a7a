#!/usr/bin/env python3
"""Prints a table of what is left of models at several ratios: how far compressed ones are from their full weights.

usage: agreement.py --legonet PROGRAM (--images DIR [--labels FILE.csv] | --inputs DIR) [--calibrate N]
                    [--codecs bricks,small] [--ratios 4,6,8,12] [--jobs N] MODEL.onnx ...

--images takes a folder of pictures, with --labels top-1 is measured beside the agreement; --inputs a folder of tensors
(.pb, .npy; ONNX's test_data_set_K too) for models that take no pictures, or their model's own vectors where DIR is -.
With --calibrate N, files are also made that every second picture, at most N, calibrates; they are measured on the others.
All other files are made without data, and measured on all. A ratio that a codec refuses has a row with the reason.
--jobs: files made at once, on a core each.
"""
import argparse
import functools
import os
import tempfile

import pool


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


def full_weights(args, model, data, seen):
    full, why = pool.run_json([args.legonet, 'eval', model, '--against', model, '--json'] + data)
    if not full:
        return f'| {os.path.basename(model)[:-5]} | full weights | | | | | | | {why} |'
    return (f"| {os.path.basename(model)[:-5]} | full weights | {'measured on the other half' if seen else ''} | | "
            f"| {show(full['top1'], '.1f')} | | | |")


def measure(args, model, data, codec, ratio, calibrate):
    out = os.path.join(args.work, f"{os.path.basename(model)}.{codec}.{ratio}.{'seen' if calibrate else 'free'}.lego")
    options = ['--codec', codec, '--ratio', ratio, '--json', '--quiet'] + pool.threads(args.jobs)
    report, why = pool.run_json([args.legonet, 'compress', model, '-o', out] + options + (['--calibrate', calibrate] if calibrate else []))
    result = None
    if report:
        result, why = pool.run_json([args.legonet, 'eval', out, '--against', model, '--json'] + data)
    row = f"| {os.path.basename(model)[:-5]} | {codec} | {'pictures' if calibrate else 'none'} | {ratio}x "
    if not result:
        return row + f"| | | | | {why.replace('|', '/')} |"
    return row + (f"| {report['ratio']:.1f}x | {show(result['top1'], '.1f')} | {show(result['agreement'], '.1f')} "
                  f"| {show(result['kl'], '.3f')} | {show(result['output_error'], '.3f')} |")


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
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    if args.calibrate and not args.images:
        parser.error('--calibrate goes with --images')
    print('| model | codec | data seen | asked | ratio | top-1 % | same class % | KL | output error |')
    print('|---|---|---|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as args.work:
        ways = [(None, ['--images', args.images] + (['--labels', args.labels] if args.labels else []))]
        if args.calibrate:
            calibrate, others = split_pictures(args.images, args.calibrate, args.work)
            labels = args.labels and keep_labels(args.labels, others, args.work)
            ways.append((calibrate, ['--images', others] + (['--labels', labels] if labels else [])))
        tasks = []
        for model in args.models:
            for seen, pictures in ways:
                where = pictures if args.images else ['--inputs', model[:-5] if args.inputs == '-' else args.inputs]
                tasks.append(functools.partial(full_weights, args, model, where, seen))
                tasks += [functools.partial(measure, args, model, where, codec, ratio, seen)
                          for codec in args.codecs.split(',') for ratio in args.ratios.split(',')]
        for row in pool.in_order(args.jobs, tasks):
            print(row, flush=True)


main()
