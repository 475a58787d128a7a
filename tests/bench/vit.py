#!/usr/bin/env python3
"""Writes a vision transformer for 224x224 as ONNX with seeded random weights: a model of that size to time.

usage: vit.py tiny|small OUT.onnx

Needs Debian's python3-onnx. Written node by node as PyTorch's exporter writes it in opset 13: LayerNormalization and
Gelu as their formulas, attention as products and a Softmax. The answers mean nothing. Dosovitskiy et al.: "An Image Is
Worth 16x16 Words", ICLR 2021; the sizes are those of DeiT (Touvron et al., ICML 2021, table 1) at a depth of 6.
"""
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

SIZES = {'tiny': (192, 3), 'small': (384, 6)}  # width, heads
DEPTH, PATCH, TOKENS = 6, 16, 197


class Network:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, array, dtype=np.float32):
        name = f'constant{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(np.array(array, dtype), name))
        return name

    def weight(self, *shape, gain=1.0):
        return self.constant(self.random.standard_normal(shape) * np.sqrt(gain / shape[0]))

    def node(self, op, *inputs, **attributes):
        self.count += 1
        out = f'{op.lower()}{self.count}'
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, **attributes))
        return out

    def reshape(self, x, *shape):
        return self.node('Reshape', x, self.constant(shape, np.int64))

    def linear(self, x, columns, rows, gain=1.0):
        product = self.node('MatMul', x, self.weight(columns, rows, gain=gain))
        return self.node('Add', self.constant(self.random.standard_normal(rows) * .02), product)

    def norm(self, x, width):
        centred = self.node('Sub', x, self.node('ReduceMean', x, axes=[-1]))
        variance = self.node('ReduceMean', self.node('Pow', centred, self.constant(2)), axes=[-1])
        deviation = self.node('Sqrt', self.node('Add', variance, self.constant(1e-6)))
        scaled = self.node('Mul', self.node('Div', centred, deviation), self.constant(self.random.uniform(.8, 1.2, width)))
        return self.node('Add', scaled, self.constant(self.random.standard_normal(width) * .1))

    def gelu(self, x):
        erf = self.node('Erf', self.node('Div', x, self.constant(np.sqrt(2))))
        return self.node('Mul', self.node('Mul', x, self.node('Add', erf, self.constant(1))), self.constant(.5))

    def attention(self, x, width, heads):
        size = width // heads
        split = self.node('Transpose', self.reshape(self.linear(x, width, 3 * width), 1, TOKENS, 3, heads, size), perm=[2, 0, 3, 1, 4])
        query, key, value = (self.node('Gather', split, self.constant(k, np.int64), axis=0) for k in range(3))
        scores = self.node('MatMul', query, self.node('Transpose', key, perm=[0, 1, 3, 2]))
        weights = self.node('Softmax', self.node('Mul', scores, self.constant(size ** -.5)), axis=-1)
        mixed = self.node('Transpose', self.node('MatMul', weights, value), perm=[0, 2, 1, 3])
        return self.linear(self.reshape(mixed, 1, TOKENS, width), width, width, .25)

    def block(self, x, width, heads):
        x = self.node('Add', x, self.attention(self.norm(x, width), width, heads))
        hidden = self.gelu(self.linear(self.norm(x, width), width, 4 * width))
        return self.node('Add', x, self.linear(hidden, 4 * width, width, .25))


def vit(name):
    width, heads = SIZES[name]
    net = Network(7)
    kernel = net.random.standard_normal((width, 3, PATCH, PATCH)) / np.sqrt(3 * PATCH * PATCH)
    x = net.node('Conv', 'image', net.constant(kernel), net.constant(np.zeros(width)), kernel_shape=[PATCH, PATCH],
                 strides=[PATCH, PATCH])
    x = net.node('Transpose', net.reshape(x, 1, width, TOKENS - 1), perm=[0, 2, 1])
    x = net.node('Concat', net.constant(net.random.standard_normal((1, 1, width)) * .02), x, axis=1)
    x = net.node('Add', x, net.constant(net.random.standard_normal((1, TOKENS, width)) * .02))
    for _ in range(DEPTH):
        x = net.block(x, width, heads)
    x = net.node('Gather', net.norm(x, width), net.constant(0, np.int64), axis=1)
    scores = net.node('Gemm', x, net.constant(net.random.standard_normal((1000, width)) / np.sqrt(width)),
                      net.constant(np.zeros(1000)), transB=1)
    graph = helper.make_graph(
        net.nodes, f'vit_{name}', [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info(scores, TensorProto.FLOAT, [1, 1000])], net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)])
    model.ir_version = 7
    checker.check_model(model)
    return model


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SIZES:
        sys.exit(__doc__)
    save(vit(sys.argv[1]), sys.argv[2])


main()
