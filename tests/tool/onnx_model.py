#!/usr/bin/env python3
"""Writes a small ONNX model or a tensor for the tests of the tool.

usage: onnx_model.py model KIND OUT.onnx     KIND: good, none, nan, inf, huge, dead, empty, noise, named, open
       onnx_model.py tensor KIND OUT.pb      KIND: good, nan, shape
"""
import random
import struct
import sys


def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(tag, n):
    return varint(tag << 3) + varint(n)


def field(tag, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(tag << 3 | 2) + varint(len(data)) + data


def tensor(name, dims, values):
    return (b''.join(number(1, d) for d in dims) + number(2, 1) + field(8, name)
            + field(9, struct.pack(f'<{len(values)}f', *values)))


def node(op, inputs, output, ints={}):
    attributes = b''.join(
        field(5, field(1, key) + b''.join(number(8, v) for v in value) + number(20, 7)) for key, value in ints.items())
    return b''.join(field(1, i) for i in inputs) + field(2, output) + field(3, output) + field(4, op) + attributes


def value(name, dims):
    shape = b''.join(field(1, field(2, d) if isinstance(d, str) else number(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, number(1, 1) + field(2, shape)))


def model(nodes, constants, inputs, outputs):
    graph = (b''.join(field(1, n) for n in nodes) + field(2, 'small') + b''.join(field(5, c) for c in constants)
             + b''.join(field(11, i) for i in inputs) + b''.join(field(12, o) for o in outputs))
    return number(1, 7) + field(7, graph) + field(8, number(2, 13))


def network(kind):
    draw = random.Random(7)
    weights = lambda count, scale: [draw.gauss(0, scale) for _ in range(count)]
    channels = 0 if kind == 'empty' else 16
    first, second, last = weights(channels * 3 * 9, .2), weights(16 * channels * 9, .1), weights(10 * 16, .3)
    first_name = '</td><script>alert(1)</script>&"\'' if kind == 'named' else 'first'
    if kind in ('nan', 'inf'):
        second[100] = float(kind)
    if kind == 'huge':
        second = [1e30 * v for v in second]
    if kind == 'dead':
        first[:5 * 27] = [0.0] * (5 * 27)
        second = [0.0] * len(second)
    constants = [tensor(first_name, [channels, 3, 3, 3], first), tensor('second', [16, channels, 3, 3], second),
                 tensor('last', [16, 10], last)]
    pads = {'pads': [1, 1, 1, 1]}
    nodes = [node('Conv', ['x', first_name], 'a', pads), node('Relu', ['a'], 'b'), node('Conv', ['b', 'second'], 'c', pads),
             node('Relu', ['c'], 'd'), node('GlobalAveragePool', ['d'], 'e'), node('Flatten', ['e'], 'f'),
             node('MatMul', ['f', 'last'], 'y')]
    return model(nodes, constants, [value('x', [1, 3, 16, 16])], [value('y', [1, 10])])


def main():
    what, kind, path = sys.argv[1:]
    if what == 'tensor':
        dims = [1, 3, 8, 8] if kind == 'shape' else [1, 3, 16, 16]
        values = [random.Random(path).gauss(0, 1) for _ in range(dims[1] * dims[2] * dims[3])]
        if kind == 'nan':
            values[5] = float('nan')
        data = tensor('x', dims, values)
    elif kind == 'none':
        data = model([node('Relu', ['x'], 'y')], [], [value('x', [1, 10])], [value('y', [1, 10])])
    elif kind == 'open':
        weights = [random.Random(3).gauss(0, .2) for _ in range(16 * 200)]
        data = model([node('Conv', ['x', 'w'], 'y', {'strides': [400]})], [tensor('w', [16, 1, 200], weights)],
                     [value('x', ['N', 1, 'samples'])], [value('y', ['N', 16, 'frames'])])
    elif kind == 'noise':
        weights = [random.Random(3).gauss(0, .2) for _ in range(64 * 32)]
        data = model([node('MatMul', ['x', 'w'], 'y')], [tensor('w', [64, 32], weights)], [value('x', [1, 64])],
                     [value('y', [1, 32])])
    else:
        data = network(kind)
    open(path, 'wb').write(data)


if __name__ == '__main__':
    main()
