#!/usr/bin/env python3
"""Prints the share of the machine's peak that each convolution and matrix product of a model reaches, on one thread.

usage: layers.py --legonet PROGRAM --kernels-bench PROGRAM [--runs 20] [--least 1.0] MODEL ...

The peak is that of fused multiply-adds on registers (kernels_bench), measured before and after. Multiply-accumulates
are those of the direct method: one that needs fewer can exceed the peak. `--least`: per cent of the time below which a
step has no row.
"""
import argparse
import json
import subprocess
import sys


def run_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)}: {done.stderr.strip()}')
    return json.loads(done.stdout)


def peak_gmacs(program):
    lines = run_json([program, '--only', 'fma', '--json'])
    return next(line['rate'] for line in lines if line['kernel'] == 'fma') / 2


def measure(args, model):
    before = peak_gmacs(args.kernels_bench)
    bench = run_json([args.legonet, 'bench', model, '--threads', '1', '--runs', str(args.runs), '--layers', '--json'])
    peak = max(before, peak_gmacs(args.kernels_bench))
    layers, total = bench['layers'], sum(layer['us'] for layer in bench['layers'])
    print(f'{model}: {total / 1e3:.2f} ms; peak {peak:.1f} GMAC/s')
    print('| step | operator | us | MMAC | GMAC/s | % of peak |')
    print('|---|---|---|---|---|---|')
    for layer in layers:
        if layer['us'] * 100 < total * args.least:
            continue
        rate = layer['macs'] / layer['us'] / 1e3 if layer['us'] else 0
        print(f"| {layer['name']} | {layer['op']} | {layer['us']:.0f} | {layer['macs'] / 1e6:.1f} | {rate:.1f} "
              f"| {100 * rate / peak:.0f} |")
    macs = sum(layer['macs'] for layer in layers)
    print(f'| all | | {total:.0f} | {macs / 1e6:.1f} | {macs / total / 1e3:.1f} | {macs / total / 10 / peak:.0f} |\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--kernels-bench', required=True)
    parser.add_argument('--runs', type=int, default=20)
    parser.add_argument('--least', type=float, default=1.0)
    parser.add_argument('models', nargs='+')
    args = parser.parse_args()
    for model in args.models:
        measure(args, model)


main()
