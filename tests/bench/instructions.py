#!/usr/bin/env python3
"""Prints how many aarch64 instructions the runtime executes for each multiply-accumulate, on one thread.

usage: instructions.py --legonet PROGRAM --arm PROGRAM --sysroot DIR [--brick 4x4] [MODEL ...]

PROGRAM is `legonet`, of this machine to compress and of arm64 to run, which qemu-aarch64 (Debian's qemu-user) emulates
with a plugin that counts (count_instructions.c). Without models: single layers of usual shapes, from full weights and
from bricks that every run decodes (K = 256), in fp32, in fp16 on a Cortex-A76 and in integers, these on a Cortex-A72,
with its dot products on a Cortex-A76, and with matrix products on what the emulator has of all extensions. A count is
the difference of two runs and one, of convolutions also that of two layers and one, so that neither loading nor the
conversions of input and output count; what integers need of quantisation does. Multiply-accumulates are those of the
direct method: Winograd's needs fewer. Needs Debian's python3-onnx and a C compiler.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

# kernel, side of the image, channels in and out; kernel 0 is a linear layer.
SHAPES = ((3, 14, 256, 256), (1, 14, 256, 256), (3, 56, 64, 64), (3, 7, 512, 512), (3, 32, 16, 16), (0, 1, 1024, 1000))
# heading, emulated core, whether the weights are bricks, numbers, what stays in memory
COLUMNS = (('fp32, full weights', 'cortex-a72', False, 'fp32', 'coded'), ('fp32, bricks', 'cortex-a72', True, 'fp32', 'coded'),
           ('fp16', 'cortex-a76', True, 'fp16', 'coded'), ('int8', 'cortex-a72', True, 'int8', 'coded'),
           ('int8, dot products', 'cortex-a76', True, 'int8', 'panels'), ('the same, decoded', 'cortex-a76', True, 'int8', 'coded'),
           ('int8, matrix products', 'max', True, 'int8', 'panels'), ('the same, decoded', 'max', True, 'int8', 'coded'))
RUNS = (1, 2)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(command)}: {done.stderr.strip()}')
    return done.stdout


def build_plugin(folder):
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'count_instructions.c')
    plugin = os.path.join(folder, 'libcount_instructions.so')
    run(['cc', '-O2', '-fPIC', '-shared', '-o', plugin, source])
    return plugin


def write_layers(path, kernel, side, channels, rows, layers):
    random, nodes, constants, x = np.random.default_rng(1), [], [], 'x'
    for i in range(layers):
        shape = (rows, channels, kernel, kernel) if kernel else (rows, channels)
        scale = (channels * max(kernel, 1) ** 2) ** -.5
        constants.append(numpy_helper.from_array((random.standard_normal(shape) * scale).astype(np.float32), f'w{i}'))
        attributes = {'kernel_shape': [kernel] * 2, 'pads': [kernel // 2] * 4} if kernel else {'transB': 1}
        nodes.append(helper.make_node('Conv' if kernel else 'Gemm', [x, f'w{i}'], [f'y{i}'], f'layer{i}', **attributes))
        x = f'y{i}'
    sides = [side, side] if kernel else []
    graph = helper.make_graph(nodes, 'layers', [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, channels] + sides)],
                              [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, rows] + sides)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)])
    model.ir_version = 7
    save(model, path)


def per_run(args, plugin, folder, model, cpu, compute, resident):
    """Instructions of one inference."""
    counts, out = [], os.path.join(folder, 'count')
    for runs in RUNS:
        run(['qemu-aarch64', '-cpu', cpu, '-L', args.sysroot, '-plugin', f'{plugin},out={out}', args.arm, 'bench', model,
             '--threads', '1', '--runs', str(runs), '--resident', resident, '--compute', compute, '--json'])
        with open(out) as file:
            counts.append(int(file.read()))
    return (counts[1] - counts[0]) / (RUNS[1] - RUNS[0])


def macs_of(args, model):
    layers = json.loads(run([args.legonet, 'bench', model, '--threads', '1', '--runs', '1', '--layers', '--json']))['layers']
    return sum(layer['macs'] for layer in layers)


def compress(args, onnx):
    lego = onnx[:-5] + '.lego'
    run([args.legonet, 'compress', onnx, '-o', lego, '--codec', 'bricks', '--brick', args.brick, '--catalogue', '256', '--json'])
    return lego


def layer_row(args, plugin, folder, shape):
    kernel, side, channels, rows = shape
    macs, cells = side * side * channels * rows * max(kernel, 1) ** 2, []
    paths = {}
    for layers in (2, 1) if kernel else (1,):
        onnx = os.path.join(folder, f'{layers}.onnx')
        write_layers(onnx, kernel, side, channels, rows, layers)
        paths[layers] = (onnx, compress(args, onnx))
    for _, cpu, coded, compute, resident in COLUMNS:
        counts = [per_run(args, plugin, folder, pair[coded], cpu, compute, resident) for pair in paths.values()]
        count = counts[0] - counts[1] if kernel else counts[0]
        cells.append(f'{count / macs:.3f}')
    name = f'{kernel}x{kernel} {side}x{side}x{channels} -> {rows}' if kernel else f'linear {channels} -> {rows}'
    return f'| {name} | {" | ".join(cells)} |'


def model_row(args, plugin, folder, model):
    macs = macs_of(args, model)
    cells = [f'{per_run(args, plugin, folder, model, cpu, compute, resident) / macs:.3f}' for _, cpu, coded, compute, resident in COLUMNS if coded]
    return f'| {os.path.basename(model)} | {" | ".join(cells)} |'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--arm', required=True)
    parser.add_argument('--sysroot', required=True)
    parser.add_argument('--brick', default='4x4')
    parser.add_argument('models', nargs='*')
    args = parser.parse_args()
    heads = [head for head, _, coded, _, _ in COLUMNS if coded or not args.models]
    print(f'| {"model" if args.models else "layer"} | {" | ".join(heads)} |\n|---|{"---|" * len(heads)}')
    with tempfile.TemporaryDirectory() as folder:
        plugin = build_plugin(folder)
        for item in args.models or SHAPES:
            row = model_row if args.models else layer_row
            print(row(args, plugin, folder, item), flush=True)


main()
