#!/usr/bin/env python3
"""Prints CPU time of one inference beside onnxruntime-node's: for machines that others use, where no clock is true.

usage: cputime.py --legonet PROGRAM --ort NODE_MODULES [--runs 12] [--rounds 5] MODEL.onnx[;NAME=1,2,3][;NAME:=NUMBER] ...

On one thread. A process that runs RUNS + 2 times and one that runs twice: the difference of what the kernel counts for
them, divided by RUNS; of several rounds the median. Beside MODEL.onnx lies MODEL.lego.
"""
import argparse
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def cpu_seconds(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{" ".join(command)}: status {status}')
    return usage.ru_utime + usage.ru_stime


def commands(args, text):
    """For each of three programs: what runs it a number of times."""
    model, *inputs = text.split(';')
    options = [word for entry in inputs
               for word in (('--input-value', entry.replace(':=', '=', 1)) if ':=' in entry else ('--input-shape', entry))]
    ours = [args.legonet, 'bench', '--threads', '1', *options]
    ort = ['node', os.path.join(HERE, 'onnxruntime.js'), os.path.abspath(args.ort), os.path.abspath(model), '1']
    return [lambda runs: ort + [str(runs)] + inputs, lambda runs: ours + [model, '--runs', str(runs)],
            lambda runs: ours + [model[:-5] + '.lego', '--runs', str(runs)]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--ort', required=True)
    parser.add_argument('--runs', type=int, default=12)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    print('| model | onnxruntime ms | .onnx ms | .lego ms | .onnx / ort | .lego / ort |\n|---|---|---|---|---|---|')
    for text in args.models:
        programs = commands(args, text)
        rounds = [[(cpu_seconds(program(args.runs + 2)) - cpu_seconds(program(2))) / args.runs * 1e3 for program in programs]
                  for _ in range(args.rounds)]
        ort, onnx, lego = (sorted(column)[args.rounds // 2] for column in zip(*rounds))
        name = os.path.basename(text.split(';')[0])[:-5]
        print(f'| {name} | {ort:.2f} | {onnx:.2f} | {lego:.2f} | {onnx / ort:.2f} | {lego / ort:.2f} |', flush=True)


main()
