#!/usr/bin/env python3
"""Compares operators with onnxruntime-node on random shapes, attributes and opsets.

usage: operators.py --legonet PROGRAM --ort NODE_MODULES [--seed N] [--count N] [--only OPERATOR,...] [--keep FOLDER]

Each family of cases.py draws --count cases. What onnxruntime refuses is no case; what it answers, `legonet run` has to
answer too, within 1e-4 + 1e-3 of each element. Prints the cases that differ and exits 1 where there are any; --keep
leaves them in a folder. Needs Debian's python3-onnx.
"""
import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.dont_write_bytecode = True
import cases  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def build(case, folder):
    """Writes a case's model and inputs; returns the line that infer.js reads."""
    os.makedirs(folder)
    feeds, inputs, constants, names = {}, [], [], []
    for k, value in enumerate(case.inputs):
        name = f'x{k}' if value is not None else ''
        names.append(name)
        if value is None:
            continue
        if k in case.constant:
            constants.append(numpy_helper.from_array(value, name))
            continue
        feeds[name] = os.path.join(folder, name + '.npy')
        np.save(feeds[name], np.array(value, order='C'))
        dims = [None] * value.ndim if case.open else value.shape
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype)
                                                    if hasattr(helper, 'np_dtype_to_tensor_dtype')
                                                    else onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[value.dtype], dims))
    outputs = ['' if k in case.skip else f'y{k}' for k in range(case.outputs)]
    node = helper.make_node(case.op, names, outputs, domain=case.domain, **case.attributes)
    graph = helper.make_graph([node], 'case', inputs, [onnx.ValueInfoProto(name=name) for name in outputs if name], constants)
    opsets = [helper.make_opsetid('', case.opset)] + ([helper.make_opsetid(case.domain, 1)] if case.domain else [])
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    path = os.path.join(folder, 'model.onnx')
    with open(path, 'wb') as file:
        file.write(model.SerializeToString())
    return {'model': path, 'feeds': feeds, 'folder': folder}


def check(legonet, line, answer):
    """Why legonet's outputs are not those of onnxruntime; None where they are."""
    command = [legonet, 'run', line['model'], '--rtol', '1e-3', '--atol', '1e-4', '--threads', '1']
    for name, path in line['feeds'].items():
        command += ['--input', f'{name}={path}']
    for k, name in enumerate(answer['outputs']):
        command += ['--expect', f'{name}={line["folder"]}/{k}.npy']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    text = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return None if done.returncode == 0 else text[-1] if text else f'exit status {done.returncode}'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--legonet', required=True)
    parser.add_argument('--ort', required=True)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--count', type=int, default=8)
    parser.add_argument('--only')
    parser.add_argument('--keep')
    args = parser.parse_args()
    work = tempfile.mkdtemp()
    chosen = list(cases.draw(args.seed, args.count, args.only.split(',') if args.only else None))
    lines = [build(case, os.path.join(work, f'{k}_{case.op}')) for k, case in enumerate(chosen)]
    node = subprocess.run(['node', os.path.join(HERE, 'infer.js'), args.ort], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, input=''.join(json.dumps(line) + '\n' for line in lines))
    answers = [json.loads(line) for line in node.stdout.splitlines()]
    if len(answers) != len(lines):
        sys.exit(f'onnxruntime ended after {len(answers)} of {len(lines)} cases')
    compared, refused, bad = collections.Counter(), collections.Counter(), 0
    for case, line, answer in zip(chosen, lines, answers):
        if 'error' in answer:
            refused[case.op] += 1
            continue
        compared[case.op] += 1
        why = check(args.legonet, line, answer)
        if why:
            bad += 1
            print(f'{os.path.basename(line["folder"])} opset {case.opset} {case.describe()}: {why}')
            if args.keep:
                shutil.copytree(line['folder'], os.path.join(args.keep, os.path.basename(line['folder'])),
                                dirs_exist_ok=True)
    shutil.rmtree(work)
    never = sorted(set(refused) - set(compared))
    if never:
        print('onnxruntime refused every case of ' + ', '.join(never))
    print(f'{sum(compared.values())} cases of {len(compared)} operators compared, {bad} differ, '
          f'{sum(refused.values())} refused by onnxruntime')
    sys.exit(1 if bad or never else 0)


main()
