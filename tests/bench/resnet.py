#!/usr/bin/env python3
"""Writes ResNet-18 or ResNet-50 for 224x224 as ONNX with seeded random weights: models of that size to time.

usage: resnet.py 18|50 OUT.onnx

Needs Debian's python3-onnx. BatchNorm is folded, as an exporter does it. Weights are He-normal, so that activations
neither vanish nor overflow; the answers mean nothing. He, Zhang, Ren, Sun: "Deep Residual Learning for Image
Recognition", CVPR 2016, table 1; the stride of a bottleneck is in its 3x3 convolution, as in torchvision.
"""
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class Network:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, array):
        name = f'weight{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, op, inputs, **attributes):
        self.count += 1
        out = f'{op.lower()}{self.count}'
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, **attributes))
        return out

    def conv(self, x, channels, rows, kernel, stride, gain=2.0):
        fan_in = channels * kernel * kernel
        weights = self.constant(self.random.standard_normal((rows, channels, kernel, kernel)) * np.sqrt(gain / fan_in))
        bias = self.constant(self.random.standard_normal(rows) * 0.1)
        return self.node('Conv', [x, weights, bias], kernel_shape=[kernel, kernel], strides=[stride, stride],
                         pads=[kernel // 2] * 4)

    def block(self, x, channels, width, stride, deep):
        """A residual block, whose last convolution is damped: the sum of many blocks stays in range."""
        out = width * (4 if deep else 1)
        if deep:
            y = self.node('Relu', [self.conv(x, channels, width, 1, 1)])
            y = self.node('Relu', [self.conv(y, width, width, 3, stride)])
            y = self.conv(y, width, out, 1, 1, 0.25)
        else:
            y = self.node('Relu', [self.conv(x, channels, width, 3, stride)])
            y = self.conv(y, width, out, 3, 1, 0.25)
        if stride > 1 or channels != out:
            x = self.conv(x, channels, out, 1, stride, 1.0)
        return self.node('Relu', [self.node('Add', [y, x])]), out


def resnet(depth):
    net = Network(depth)
    x = net.node('Relu', [net.conv('image', 3, 64, 7, 2)])
    x = net.node('MaxPool', [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, count in enumerate(BLOCKS[depth]):
        for i in range(count):
            x, channels = net.block(x, channels, 64 << stage, 2 if stage and not i else 1, depth == 50)
    x = net.node('Flatten', [net.node('GlobalAveragePool', [x])])
    weights = net.constant(net.random.standard_normal((1000, channels)) * np.sqrt(1.0 / channels))
    scores = net.node('Gemm', [x, weights, net.constant(np.zeros(1000))], transB=1)
    graph = helper.make_graph(
        net.nodes, f'resnet{depth}', [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info(scores, TensorProto.FLOAT, [1, 1000])], net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)])
    model.ir_version = 7
    checker.check_model(model)
    return model


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ('18', '50'):
        sys.exit(__doc__)
    save(resnet(int(sys.argv[1])), sys.argv[2])


main()
