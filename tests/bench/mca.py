#!/usr/bin/env python3
"""Prints what llvm-mca expects of the inner loops of the arm64 kernels: multiply-accumulates a cycle, by core.

usage: mca.py [--build build/arm64]

For each kernel the innermost loop with the most multiplications is taken from the disassembly of its object; LLVM's models of the
cores know their ports and latencies, but no caches. Needs Debian's llvm and binutils-aarch64-linux-gnu.
"""
import argparse
import os
import re
import subprocess
import sys

CORES = ('cortex-a72', 'cortex-a76', 'cortex-a78')
# heading, object, function, the cores that have its instructions
LOOPS = (
    ('fp32 GEMM, 7x8', 'neon/gemm.c.o', 'gemm', CORES),
    ('fp32 GEMM, one row', 'neon/gemm.c.o', 'gemm_row', CORES),
    ('fp32 one row from 4x4 bricks', 'neon/brick.c.o', 'gemv_4x4', CORES),
    ('fp32 one row from 4x1 bricks', 'neon/brick.c.o', 'gemv_4x1', CORES),
    ('fp16 GEMM, 8x16', 'fp16/gemm_f16.c.o', 'gemm', CORES[1:]),
    ('int8 GEMM', 'neon/gemm_s8.c.o', None, CORES),
    ('int8 GEMM, dot products', 'dotprod/gemm_s8.c.o', None, CORES[1:]),
)
# Multiply-accumulates of an instruction, by name and the lanes of its first operand.
LANES = {'2s': 2, '4s': 4, '8h': 8, '4h': 4, '2d': 2, '16b': 16}
FACTORS = {'fmla': 1, 'fmul': 1, 'smlal': 1, 'smlal2': 1, 'umlal': 1, 'umlal2': 1, 'smull': 1, 'smull2': 1, 'sdot': 4, 'udot': 4, 'usdot': 4,
           'mla': 1}
BRANCH = re.compile(r'(?:b\.\w+|cbn?z|tbn?z)\s.*?([0-9a-f]+) <')


def run(command, text=None):
    done = subprocess.run(command, capture_output=True, text=True, input=text)
    if done.returncode:
        sys.exit(f'{" ".join(command)}: {done.stderr.strip()}')
    return done.stdout


def functions(path):
    """Name to [(address, instruction)]."""
    found, name = {}, None
    for line in run(['aarch64-linux-gnu-objdump', '-d', '--no-show-raw-insn', path]).splitlines():
        head = re.match(r'[0-9a-f]+ <(.+)>:$', line)
        code = re.match(r'\s*([0-9a-f]+):\s+(.*?)\s*(?://.*)?$', line)
        if head:
            name = head.group(1)
            found[name] = []
        elif code and name:
            found[name].append((int(code.group(1), 16), code.group(2)))
    return found


def macs_of(instruction):
    parts = re.match(r'(\w+)\s+v\d+\.(\w+)', instruction)
    return FACTORS.get(parts.group(1), 0) * LANES.get(parts.group(2), 0) if parts else 0


def inner_loops(code):
    """The bodies that a backward branch ends and no other one lies in."""
    at = {address: i for i, (address, _) in enumerate(code)}
    spans = []
    for i, (address, text) in enumerate(code):
        branch = BRANCH.match(text)
        target = int(branch.group(1), 16) if branch else None
        if branch and target <= address and target in at:
            spans.append((at[target], i))
    for first, last in spans:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in spans):
            yield [text for _, text in code[first:last + 1]]


def heaviest(path, name):
    found = functions(path)
    loops = [loop for function, code in found.items() if name in (None, function) for loop in inner_loops(code)]
    return max(loops, key=lambda loop: (sum(map(macs_of, loop)), -len(loop)), default=None)


def cycles(loop, core):
    text = '1:\n' + '\n'.join(loop[:-1]) + '\n' + re.sub(r'[0-9a-f]+ <.*', '1b', loop[-1]) + '\n'
    report = run(['llvm-mca', '-mtriple=aarch64-linux-gnu', f'-mcpu={core}', '-iterations=200'], text)
    return int(re.search(r'Total Cycles:\s+(\d+)', report).group(1)) / 200


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', default='build/arm64')
    args = parser.parse_args()
    folder = os.path.join(args.build, 'kernels-arm/CMakeFiles/lego_kernels_arm.dir')
    print(f'| inner loop | multiply-accumulates | instructions for each | {" | ".join(CORES)} |\n|---|---|---|{"---|" * len(CORES)}')
    for heading, unit, name, cores in LOOPS:
        loop = heaviest(os.path.join(folder, unit), name)
        if not loop:
            sys.exit(f'{unit}: no loop in {name or "any function"}')
        macs = sum(map(macs_of, loop))
        cells = [f'{macs / cycles(loop, core):.1f}' if core in cores else '' for core in CORES]
        print(f'| {heading} | {macs} | {len(loop) / macs:.3f} | {" | ".join(cells)} |')


main()
