#!/usr/bin/env python3
"""Writes one linear layer, batch 1, as ONNX with seeded random weights: to time a matrix times a vector.

usage: linear.py ROWS COLUMNS OUT.onnx

Needs Debian's python3-onnx.
"""
import sys

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    rows, columns = int(sys.argv[1]), int(sys.argv[2])
    weights = np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32) / np.sqrt(columns)
    graph = helper.make_graph(
        [helper.make_node('Gemm', ['x', 'weights'], ['y'], transB=1)], 'linear',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, columns])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, [1, rows])],
        [numpy_helper.from_array(weights.astype(np.float32), 'weights')])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)])
    model.ir_version = 7
    checker.check_model(model)
    save(model, sys.argv[3])


main()
