#!/usr/bin/env python3
"""Writes a network with squeeze-and-excitation blocks for 224x224 as ONNX with seeded random weights: a model of that size to time.

usage: squeeze.py mobilenet_v3_small|efficientnet_b0 OUT.onnx

Needs Debian's python3-onnx. Written as PyTorch's exporter writes it in opset 13: BatchNorm is folded, HardSwish and SiLU are
products with HardSigmoid and Sigmoid. Weights are He-normal, so that activations neither vanish nor overflow; the answers mean
nothing. Howard et al.: "Searching for MobileNetV3", ICCV 2019, table 2; Tan, Le: "EfficientNet", ICML 2019, table 1; squeezed
widths are torchvision's.
"""
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

# kernel, expanded channels, output channels, squeezed channels (0: no such block), activation, stride
MOBILENET_V3_SMALL = (
    (3, 16, 16, 8, 'Relu', 2), (3, 72, 24, 0, 'Relu', 2), (3, 88, 24, 0, 'Relu', 1), (5, 96, 40, 24, 'HardSwish', 2),
    (5, 240, 40, 64, 'HardSwish', 1), (5, 240, 40, 64, 'HardSwish', 1), (5, 120, 48, 32, 'HardSwish', 1),
    (5, 144, 48, 40, 'HardSwish', 1), (5, 288, 96, 72, 'HardSwish', 2), (5, 576, 96, 144, 'HardSwish', 1),
    (5, 576, 96, 144, 'HardSwish', 1))
# kernel, expansion, output channels, blocks, stride of the first one
EFFICIENTNET_B0 = ((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1), (5, 6, 192, 4, 2),
                   (3, 6, 320, 1, 1))


def efficientnet_blocks():
    channels = 32
    for kernel, expansion, out, count, stride in EFFICIENTNET_B0:
        for i in range(count):
            yield kernel, channels * expansion, out, channels // 4, 'SiLU', 1 if i else stride
            channels = out


class Network:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, array):
        name = f'weight{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, op, *inputs, **attributes):
        self.count += 1
        out = f'{op.lower()}{self.count}'
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, **attributes))
        return out

    def gate(self, x, kind):
        return self.node('HardSigmoid', x, alpha=1 / 6, beta=0.5) if kind == 'HardSwish' else self.node('Sigmoid', x)

    def activation(self, x, kind):
        if kind == 'Relu':
            return self.node('Relu', x)
        return self.node('Mul', x, self.gate(x, kind)) if kind else x

    def conv(self, x, channels, rows, kernel=1, stride=1, groups=1, kind=None, gain=2.0):
        fan_in = channels // groups * kernel * kernel
        weights = self.constant(self.random.standard_normal((rows, channels // groups, kernel, kernel)) * np.sqrt(gain / fan_in))
        bias = self.constant(self.random.standard_normal(rows) * 0.1)
        x = self.node('Conv', x, weights, bias, kernel_shape=[kernel, kernel], strides=[stride, stride], group=groups,
                      pads=[kernel // 2] * 4)
        return self.activation(x, kind)

    def squeeze(self, x, channels, squeezed, gate, kind):
        mean = self.node('GlobalAveragePool', x)
        mean = self.conv(mean, channels, squeezed, kind=kind)
        return self.node('Mul', self.gate(self.conv(mean, squeezed, channels, gain=1.0), gate), x)

    def block(self, x, channels, kernel, expanded, out, squeezed, kind, stride):
        y = x if expanded == channels else self.conv(x, channels, expanded, kind=kind)
        y = self.conv(y, expanded, expanded, kernel, stride, expanded, kind)
        if squeezed:
            y = self.squeeze(y, expanded, squeezed, 'SiLU' if kind == 'SiLU' else 'HardSwish', 'SiLU' if kind == 'SiLU' else 'Relu')
        y = self.conv(y, expanded, out)
        return self.node('Add', x, y) if stride == 1 and channels == out else y

    def linear(self, x, columns, rows):
        weights = self.constant(self.random.standard_normal((rows, columns)) * np.sqrt(1.0 / columns))
        return self.node('Gemm', x, weights, self.constant(np.zeros(rows)), transB=1)


def network(name):
    small = name == 'mobilenet_v3_small'
    blocks = MOBILENET_V3_SMALL if small else tuple(efficientnet_blocks())
    channels, last, kind = (16, 576, 'HardSwish') if small else (32, 1280, 'SiLU')
    net = Network(3)
    x = net.conv('image', 3, channels, 3, 2, kind=kind)
    for block in blocks:
        x = net.block(x, channels, *block)
        channels = block[2]
    x = net.conv(x, channels, last, kind=kind)
    x = net.node('Flatten', net.node('GlobalAveragePool', x))
    if small:
        x = net.activation(net.linear(x, last, 1024), kind)
        last = 1024
    scores = net.linear(x, last, 1000)
    graph = helper.make_graph(net.nodes, name, [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, 224, 224])],
                              [helper.make_tensor_value_info(scores, TensorProto.FLOAT, [1, 1000])], net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)])
    model.ir_version = 7
    checker.check_model(model)
    return model


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ('mobilenet_v3_small', 'efficientnet_b0'):
        sys.exit(__doc__)
    save(network(sys.argv[1]), sys.argv[2])


main()
