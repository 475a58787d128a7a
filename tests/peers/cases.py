"""Random cases of single operators: one function a family, each drawing a case of one of its operators.

A function takes a Draw and returns a Case. Shapes are small, sizes of one and odd sizes are likely; attributes are drawn
from what the operator allows, and now and then left out.
"""
import random
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Case:
    op: str
    inputs: list
    attributes: dict = field(default_factory=dict)
    opset: int = 17
    outputs: int = 1
    domain: str = ''
    constant: tuple = ()  # inputs that are initialisers
    open: bool = False    # the model leaves all sizes open
    skip: tuple = ()      # outputs that are left out

    def describe(self):
        shapes = ['-' if x is None else f'{x.dtype}{list(x.shape)}' + ('=' + str(x.tolist()) if x.size <= 8 and x.dtype.kind == 'i' else '')
                  for x in self.inputs]
        return f'{", ".join(shapes)} {self.attributes}{" open" if self.open else ""}'


class Draw(random.Random):
    """Random numbers, and arrays of them."""

    def __init__(self, seed):
        super().__init__(seed)
        self.arrays = np.random.default_rng(seed)

    def maybe(self, share=.5):
        return self.random() < share

    def shape(self, low=0, high=4, most=6):
        return [self.choice([1, 2, 3, 3, 4, 5, 6][:most + 1]) for _ in range(self.randint(low, high))]

    def floats(self, shape, scale=1.0, dtype=np.float32):
        return np.asarray(self.arrays.normal(0, scale, shape)).astype(dtype)

    def positive(self, shape, low=.1, high=3):
        return np.asarray(self.arrays.uniform(low, high, shape)).astype(np.float32)

    def ints(self, low, high, shape, dtype=np.int64):
        return np.asarray(self.arrays.integers(low, high, shape)).astype(dtype)

    def of(self, dtype, shape):
        dtype = np.dtype(dtype)
        if dtype.kind == 'f':
            return self.floats(shape, 2, dtype)
        if dtype.kind == 'b':
            return self.ints(0, 2, shape, bool)
        return self.ints(0 if dtype.kind == 'u' else -9, 10, shape, dtype)

    def broadcast(self, shape):
        """A shape that broadcasts with `shape`."""
        other = [1 if self.maybe(.35) else d for d in shape]
        return other[self.randint(0, len(other)):] if self.maybe(.4) else other

    def axes(self, rank, most=None):
        count = self.randint(1, max(1, min(rank, most or rank)))
        return [a - rank if self.maybe(.3) else a for a in sorted(self.sample(range(rank), count))]


FAMILIES = {}


def family(*ops):
    def note(function):
        for op in ops:
            FAMILIES[op] = function
        return function
    return note


# Elementwise

@family('Relu', 'Abs', 'Neg', 'Sign')
def number_unary(d, op):
    dtype = d.choice(['f4', 'f4', 'i4', 'i8', 'i1'])
    return Case(op, [d.of(dtype, d.shape())], opset=d.choice([13, 14, 17]), open=d.maybe())


@family('LeakyRelu', 'Elu', 'Selu', 'Celu', 'ThresholdedRelu', 'HardSigmoid', 'HardSwish', 'Mish', 'Softplus', 'Softsign',
        'Sigmoid', 'Tanh', 'Erf', 'Ceil', 'Floor', 'Round', 'Exp', 'Sin', 'Cos', 'Tan', 'Atan', 'Sinh', 'Cosh', 'Asinh', 'Gelu')
def float_unary(d, op):
    alpha = op in ('LeakyRelu', 'Elu', 'Selu', 'Celu', 'ThresholdedRelu', 'HardSigmoid')
    attributes = {'alpha': round(d.uniform(.05, 2), 2)} if alpha and d.maybe() else {}
    if op == 'HardSigmoid' and d.maybe():
        attributes['beta'] = .3
    if op == 'Selu' and d.maybe():
        attributes['gamma'] = 1.2
    if op == 'Gelu' and d.maybe():
        attributes['approximate'] = 'tanh'
    x = d.floats(d.shape(), d.choice([1, 1, 8, 40]))
    if op == 'Round' and d.maybe():
        x = np.round(x * 2) / 2
    return Case(op, [np.clip(x, -80, 80).astype('f4')], attributes, 20 if op == 'Gelu' else d.choice([15, 18]) if op != 'Mish' else 18)


@family('Sqrt', 'Log', 'Reciprocal', 'Acosh')
def positive_unary(d, op):
    return Case(op, [d.positive(d.shape(), 1 if op == 'Acosh' else .1)], opset=d.choice([9, 13]))


@family('Asin', 'Acos', 'Atanh')
def bounded_unary(d, op):
    return Case(op, [d.positive(d.shape(), -.95, .95)], opset=d.choice([9, 13]))


@family('Add', 'Sub', 'Mul', 'Div', 'Max', 'Min', 'Pow', 'Mod', 'Equal', 'Less', 'Greater', 'LessOrEqual', 'GreaterOrEqual',
        'PRelu')
def binary(d, op):
    dtype = d.choice(['f4', 'f4', 'f4', 'i4', 'i8'])
    attributes, opset = {}, d.choice([13, 14, 17])
    a = d.shape(0 if op != 'PRelu' else 1, 5)
    b = d.broadcast(a)
    if d.maybe() and op != 'PRelu':
        a, b = b, a
    if op == 'PRelu':
        dtype, opset = 'f4', d.choice([9, 16])
    x, y = d.of(dtype, a), d.of(dtype, b)
    if op in ('Div', 'Mod'):
        y = np.where(y == 0, 3, y).astype(dtype)
    if op == 'Mod' and dtype == 'f4':
        attributes['fmod'] = 1
    if op == 'Mod' and dtype != 'f4' and d.maybe():
        attributes['fmod'] = d.randint(0, 1)
    if op == 'Pow':
        x = (np.abs(x) + 1).astype(dtype)
        y = np.clip(y, -3 if dtype == 'f4' else 0, 3).astype(d.choice(['f4', 'i8', dtype]))
    constant = d.choice([(), (1,), (0,)])
    return Case(op, [x, y], attributes, opset, constant=constant, open=d.maybe(.3))


@family('And', 'Or', 'Xor')
def logical(d, op):
    a = d.shape()
    return Case(op, [d.of('?', a), d.of('?', d.broadcast(a))], opset=13)


@family('Not')
def negation(d, op):
    return Case(op, [d.of('?', d.shape())], opset=13)


@family('BitShift', 'BitwiseAnd', 'BitwiseOr', 'BitwiseXor', 'BitwiseNot')
def bits(d, op):
    a = d.shape()
    dtype = d.choice(['u1', 'u4', 'u8'] if op == 'BitShift' else ['u1', 'i4', 'i8'])
    x = [d.ints(0, 100, a, dtype)]
    if op != 'BitwiseNot':
        x.append(d.ints(0, 6, d.broadcast(a), dtype))
    return Case(op, x, {'direction': d.choice(['LEFT', 'RIGHT'])} if op == 'BitShift' else {}, 18)


@family('Sum', 'Mean')
def variadic(d, op):
    a = d.shape()
    return Case(op, [d.floats(d.broadcast(a)) for _ in range(d.randint(1, 4))], opset=d.choice([8, 13]))


@family('Clip')
def clip(d, op):
    dtype = d.choice(['f4', 'f4', 'i4', 'i8', 'i1'])
    bound = lambda v: np.array(v, dtype) if d.maybe(.8) else None
    inputs = [d.of(dtype, d.shape()), bound(-2), bound(3)]
    return Case(op, inputs if inputs[2] is not None else inputs[:2] if inputs[1] is not None else inputs[:1],
                opset=d.choice([12, 13]), constant=d.choice([(), (1, 2)]))


@family('Where')
def where(d, op):
    a = d.shape()
    dtype = d.choice(['f4', 'i8', 'i4', 'u1'])
    return Case(op, [d.of('?', d.broadcast(a)), d.of(dtype, a), d.of(dtype, d.broadcast(a))], opset=16)


@family('Cast')
def cast(d, op):
    types = {'f4': 1, 'u1': 2, 'i1': 3, 'i4': 6, 'i8': 7, '?': 9, 'f2': 10, 'f8': 11}
    x = d.of(d.choice(list(types)), d.shape())
    # What a number out of range becomes is not said.
    return Case(op, [np.abs(x) if x.dtype.kind != 'b' else x], {'to': d.choice(list(types.values()))}, d.choice([9, 13]))


@family('IsNaN', 'IsInf')
def predicate(d, op):
    x = d.floats([4, 5])
    x[0, :3] = [np.nan, np.inf, -np.inf]
    return Case(op, [x], {'detect_negative': d.randint(0, 1)} if op == 'IsInf' and d.maybe() else {}, 13)


@family('Shrink')
def shrink(d, op):
    return Case(op, [d.floats(d.shape(), 2)], {'lambd': .7, 'bias': d.choice([0., .3])} if d.maybe() else {}, 9)


# Convolution and pooling

def window(d, axes, kernels=(1, 2, 3, 4, 5), dilated_same=True):
    """Attributes of a window and the least sizes that it fits."""
    attributes, least = {}, []
    kernel = [d.choice(kernels) for _ in range(axes)]
    dilations = [d.choice([1, 1, 2, 3]) for _ in range(axes)]
    for k, dilation in zip(kernel, dilations):
        least.append((k - 1) * dilation + 1)
    if d.maybe(.7):
        attributes['strides'] = [d.choice([1, 2, 3]) for _ in range(axes)]
    if any(x > 1 for x in dilations):
        attributes['dilations'] = dilations
    # onnxruntime pads SAME windows of pools as if they were not dilated, which is not what ONNX says.
    same = ['SAME_UPPER', 'SAME_LOWER'] if dilated_same or 'dilations' not in attributes else []
    style = d.choice(['', 'pads', 'pads', 'VALID'] + same)
    if style == 'pads':
        attributes['pads'] = [d.randint(0, min(2, k - 1)) for k in kernel] + [d.randint(0, min(2, k - 1)) for k in kernel]
    elif style:
        attributes['auto_pad'] = style
    return kernel, attributes, least


def picture(d, channels, least, batch=None):
    return [batch or d.choice([1, 1, 2])] + [channels] + [k + d.randint(0, 7) for k in least]


@family('Conv')
def conv(d, op):
    axes = d.choice([1, 2, 2, 2, 3])
    kernel, attributes, least = window(d, axes)
    group = d.choice([1, 1, 1, 2, 3, 4, 8])
    inside, outside = d.choice([1, 1, 2, 3, 5]), d.choice([1, 1, 2, 3, 9])
    if group > 1:
        attributes['group'] = group
    if d.maybe():
        attributes['kernel_shape'] = kernel
    if axes == 1 and 'auto_pad' in attributes:
        attributes.pop('dilations', None)
    inputs = [d.floats(picture(d, group * inside, least)), d.floats([group * outside, inside] + kernel, .5)]
    if d.maybe():
        inputs.append(d.floats([group * outside]))
    return Case(op, inputs, attributes, d.choice([7, 11, 17]), constant=d.choice([(1, 2), (1, 2), ()]), open=d.maybe(.3))


@family('ConvTranspose')
def conv_transpose(d, op):
    axes = d.choice([1, 2, 2, 3])
    kernel, attributes, _ = window(d, axes, (1, 2, 3, 4))
    group = d.choice([1, 1, 2, 3])
    strides = attributes.get('strides', [1] * axes)
    dilations = attributes.get('dilations', [1] * axes)
    size = [d.randint(1, 6) for _ in range(axes)]
    if d.maybe(.4):
        attributes['output_padding'] = [d.randint(0, max(s, k) - 1) for s, k in zip(strides, dilations)]
    if 'auto_pad' in attributes and any(s > (k - 1) * n + 1 for s, k, n in zip(strides, kernel, dilations)):
        attributes.pop('auto_pad')  # onnxruntime's output is smaller than the input times the stride
    if d.maybe(.2):
        attributes['output_shape'] = [n * s for n, s in zip(size, strides)]
        attributes.pop('pads', None)
        attributes.pop('output_padding', None)
    if group > 1:
        attributes['group'] = group
    inside, outside = d.choice([1, 2, 3]), d.choice([1, 2, 5])
    inputs = [d.floats([d.choice([1, 2]), group * inside] + size), d.floats([group * inside, outside] + kernel, .5)]
    if d.maybe():
        inputs.append(d.floats([group * outside]))
    return Case(op, inputs, attributes, 11, constant=d.choice([(1, 2), ()]))


@family('MaxPool', 'AveragePool', 'LpPool')
def pool(d, op):
    axes = d.choice([1, 2, 2, 3])
    kernel, attributes, least = window(d, axes, (1, 2, 3), False)
    opset = 19 if op != 'MaxPool' and d.maybe() else 12
    if op == 'LpPool':
        opset = d.choice([11, 18])
        attributes['p'] = d.choice([1, 2, 3])
    if opset < 18 and op != 'MaxPool':
        attributes.pop('dilations', None)
    if attributes.get('auto_pad') in (None, 'NOTSET') and d.maybe(.5) and (op != 'LpPool' or opset == 18):
        attributes['ceil_mode'] = d.randint(0, 1)
    if op == 'AveragePool' and d.maybe():
        attributes['count_include_pad'] = d.randint(0, 1)
    attributes['kernel_shape'] = kernel
    outputs = 2 if op == 'MaxPool' and d.maybe(.3) else 1
    if outputs == 2 and d.maybe():
        attributes['storage_order'] = 1
    dtype = 'f4' if op != 'MaxPool' or outputs == 2 or d.maybe(.8) else d.choice(['i1', 'u1'])
    return Case(op, [d.of(dtype, picture(d, d.choice([1, 3, 8]), least))], attributes, opset, outputs)


@family('GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool')
def global_pool(d, op):
    attributes = {'p': d.choice([1, 2, 3])} if op == 'GlobalLpPool' and d.maybe() else {}
    return Case(op, [d.floats(d.shape(3, 5))], attributes, 13)


# Matrix products

@family('MatMul')
def matmul(d, op):
    batch = d.shape(0, 3)
    m, k, n = (d.choice([1, 2, 3, 5, 17, 33]) for _ in range(3))
    a, b = batch + [m, k], d.broadcast(batch) + [k, n]
    if d.maybe(.15):
        a = [k]
    if d.maybe(.15):
        b = [k]
    dtype = d.choice(['f4', 'f4', 'f4', 'i4', 'i8'])
    return Case(op, [d.of(dtype, a), d.of(dtype, b)], opset=13, constant=d.choice([(), (1,), (0,)]), open=d.maybe(.3))


@family('Gemm')
def gemm(d, op):
    m, k, n = (d.choice([1, 2, 5, 17]) for _ in range(3))
    attributes = {key: d.choice([0, 1]) for key in ('transA', 'transB') if d.maybe(.6)}
    attributes.update({key: d.choice([.5, 2., 0.]) for key in ('alpha', 'beta') if d.maybe(.3)})
    inputs = [d.floats([k, m] if attributes.get('transA') else [m, k]), d.floats([n, k] if attributes.get('transB') else [k, n])]
    if d.maybe(.7):
        inputs.append(d.floats(d.choice([[m, n], [n], [1, n], [m, 1], [1], [], [1, 1]])))
    return Case(op, inputs, attributes, d.choice([11, 13]), constant=d.choice([(), (1, 2), (1,)]), open=d.maybe(.3))


@family('Einsum')
def einsum(d, op):
    equation = d.choice(['ij,jk->ik', 'bij,bjk->bik', 'bhid,bhjd->bhij', 'ij->ji', 'ii->i', 'ij->', 'ij,ij->i', 'i,j->ij',
                         'bnqd,bnkd->bnqk', '...ij,...jk->...ik', 'abc,cd', 'ij,jk,kl->il', 'bij->b', 'ba,b->a'])
    sizes = {c: d.choice([1, 2, 3, 4]) for c in 'abcdefghijklmnopqrstuvwxyz'}
    dots = d.shape(1, 2)
    inputs = [d.floats([s for c in term.replace('...', '.') for s in (dots if c == '.' else [sizes[c]])])
              for term in equation.split('->')[0].split(',')]
    return Case(op, inputs, {'equation': equation}, 12)


# Normalisation

@family('BatchNormalization')
def batch_norm(d, op):
    shape = d.shape(2, 5)
    c = shape[1]
    inputs = [d.floats(shape), d.floats([c]), d.floats([c]), d.floats([c]), d.positive([c])]
    return Case(op, inputs, {'epsilon': .01} if d.maybe() else {}, d.choice([9, 14, 15]), constant=d.choice([(), (1, 2, 3, 4)]))


@family('InstanceNormalization')
def instance_norm(d, op):
    shape = d.shape(3, 5)
    return Case(op, [d.floats(shape), d.floats([shape[1]]), d.floats([shape[1]])], {'epsilon': .01} if d.maybe() else {}, 6)


@family('GroupNormalization')
def group_norm(d, op):
    groups, each = d.choice([1, 2, 3]), d.choice([1, 2, 4])
    opset = d.choice([18, 21])
    c = groups * each
    by = c if opset == 21 else groups
    return Case(op, [d.floats([2, c] + d.shape(1, 2)), d.floats([by]), d.floats([by])], {'num_groups': groups}, opset,
                open=d.maybe())


@family('LayerNormalization')
def layer_norm(d, op):
    shape = d.shape(1, 4)
    axis = d.randrange(-len(shape), len(shape))
    tail = shape[axis:] if axis < 0 else shape[axis:]
    inputs = [d.floats(shape), d.floats(tail)] + ([d.floats(tail)] if d.maybe() else [])
    return Case(op, inputs, {'axis': axis} if d.maybe(.8) or len(tail) != 1 else {}, 17, d.choice([1, 1, 3]))


@family('LRN')
def lrn(d, op):
    return Case(op, [d.floats(d.shape(4, 4))], {'size': d.choice([1, 3, 5]), 'alpha': .1, 'beta': .7, 'bias': 1.5} if d.maybe()
                else {'size': 3}, 13)


@family('LpNormalization')
def lp_norm(d, op):
    shape = d.shape(1, 4)
    return Case(op, [d.floats(shape)], {'axis': d.randrange(-len(shape), len(shape)), 'p': d.choice([1, 2])}, 1)


@family('MeanVarianceNormalization')
def mvn(d, op):
    return Case(op, [d.floats([2, 3, 4, 5])], {'axes': d.choice([[0, 2, 3], [1], [0, 1, 2, 3]])} if d.maybe() else {}, 13)


@family('Softmax', 'LogSoftmax', 'Hardmax')
def softmax(d, op):
    shape = d.shape(1, 4)
    attributes = {'axis': d.randrange(-len(shape), len(shape))} if d.maybe(.8) else {}
    opset = d.choice([7, 11, 13])
    if opset < 11 and attributes.get('axis', 0) < 0:
        opset = 11
    if opset < 13 and len(shape) < 2 and not attributes:
        attributes = {'axis': 0}
    return Case(op, [d.floats(shape, 3)], attributes, opset)


# Reduction

@family('ReduceSum', 'ReduceMean', 'ReduceMax', 'ReduceMin', 'ReduceProd', 'ReduceSumSquare', 'ReduceL1', 'ReduceL2',
        'ReduceLogSum', 'ReduceLogSumExp')
def reduce(d, op):
    shape = d.shape(1, 4)
    dtype = d.choice(['f4', 'f4', 'f4', 'i4', 'i8'] if op not in ('ReduceLogSum', 'ReduceL2', 'ReduceLogSumExp') else ['f4'])
    opset = d.choice([11, 13, 18])
    attributes = {'keepdims': d.randint(0, 1)} if d.maybe(.6) else {}
    x = d.of(dtype, shape) if op != 'ReduceLogSum' else d.positive(shape)
    if op == 'ReduceProd' and dtype != 'f4':
        x = np.sign(x).astype(dtype)  # no overflow
    if opset < (13 if op == 'ReduceSum' else 18):
        if d.maybe(.8):
            attributes['axes'] = d.axes(len(shape))
        return Case(op, [x], attributes, opset)
    if d.maybe(.3):
        attributes['noop_with_empty_axes'] = 1
    inputs = [x] + ([np.array(d.axes(len(shape)), np.int64)] if d.maybe(.8) else [])
    return Case(op, inputs, attributes, opset, constant=(1,) if d.maybe() else ())


@family('ArgMax', 'ArgMin')
def arg_reduce(d, op):
    shape = d.shape(1, 4)
    attributes = {'axis': d.randrange(-len(shape), len(shape))} if d.maybe(.8) else {}
    if d.maybe():
        attributes['keepdims'] = 0
    if d.maybe():
        attributes['select_last_index'] = 1
    return Case(op, [d.ints(0, 3, shape).astype(d.choice(['f4', 'i4', 'u1']))], attributes, 13)


@family('CumSum')
def cumsum(d, op):
    shape = d.shape(1, 4)
    attributes = {key: 1 for key in ('exclusive', 'reverse') if d.maybe()}
    return Case(op, [d.of(d.choice(['f4', 'i4', 'i8']), shape), np.array(d.randrange(-len(shape), len(shape)), np.int64)], attributes, 14)


@family('TopK')
def topk(d, op):
    shape = d.shape(1, 4)
    axis = d.randrange(-len(shape), len(shape))
    attributes = {'axis': axis}
    if d.maybe():
        attributes['largest'] = d.randint(0, 1)
    count = int(np.prod(shape))
    x = d.arrays.permutation(count).reshape(shape).astype(d.choice(['f4', 'i8', 'i4']))
    return Case(op, [x, np.array([d.randint(1, shape[axis])], np.int64)], attributes, d.choice([10, 11]) if 'largest' not in attributes and x.dtype == 'f4' else 11,
                2, constant=(1,) if d.maybe() else ())


# Shapes and movement

def any_of(d, shape):
    return d.of(d.choice(['f4', 'f4', 'i8', 'i4', 'u1', '?']), shape)


@family('Shape')
def shape_of(d, op):
    attributes = {key: d.randint(-3, 4) for key in ('start', 'end') if d.maybe()}
    return Case(op, [any_of(d, d.shape())], attributes, 15, open=d.maybe())


@family('Size', 'Identity')
def plain(d, op):
    return Case(op, [any_of(d, d.shape())], opset=13, open=d.maybe())


@family('Reshape')
def reshape(d, op):
    shape = d.shape(1, 4)
    flat = int(np.prod(shape))
    want = list(d.choice([[flat], [1, flat], [flat, 1], [-1], [0, -1], shape[::-1], [-1, shape[-1]], [1, -1, 1]]))
    return Case(op, [any_of(d, shape), np.array(want, np.int64)], opset=d.choice([5, 13, 14]), constant=(1,) if d.maybe() else ())


@family('Flatten')
def flatten(d, op):
    shape = d.shape(1, 4)
    return Case(op, [any_of(d, shape)], {'axis': d.randint(-len(shape), len(shape))} if d.maybe(.8) else {}, 13)


@family('Squeeze')
def squeeze(d, op):
    shape = [1 if d.maybe() else x for x in d.shape(1, 5)]
    ones = [k - len(shape) if d.maybe(.3) else k for k, x in enumerate(shape) if x == 1]
    opset = d.choice([11, 13])
    if opset == 11:
        return Case(op, [any_of(d, shape)], {'axes': ones} if ones else {}, 11)
    return Case(op, [any_of(d, shape)] + ([np.array(ones, np.int64)] if ones and d.maybe() else []), opset=13, constant=(1,))


@family('Unsqueeze')
def unsqueeze(d, op):
    shape = d.shape(0, 4)
    axes = d.axes(len(shape) + 2, 2)
    axes = [a % (len(shape) + len(axes)) for a in axes]
    axes = list(dict.fromkeys(axes))
    axes = [a for a in axes if a < len(shape) + len(axes)]
    d.shuffle(axes)
    return Case(op, [any_of(d, shape), np.array(axes, np.int64)], opset=13, constant=(1,) if d.maybe() else ())


@family('Transpose')
def transpose(d, op):
    shape = d.shape(0, 5)
    perm = list(range(len(shape)))
    d.shuffle(perm)
    return Case(op, [any_of(d, shape)], {'perm': perm} if d.maybe(.8) and perm else {}, 13)


@family('Concat')
def concat(d, op):
    shape = d.shape(1, 4)
    axis = d.randrange(-len(shape), len(shape))
    dtype = d.choice(['f4', 'f4', 'i8', 'u1'])
    inputs = []
    for _ in range(d.randint(1, 4)):
        shape[axis] = d.randint(0, 4)
        inputs.append(d.of(dtype, shape))
    return Case(op, inputs, {'axis': axis}, 13, constant=(1,) if d.maybe(.3) else ())


@family('Split')
def split(d, op):
    shape = d.shape(1, 4)
    axis = d.randrange(-len(shape), len(shape))
    parts = d.randint(1, 3)
    sizes = [d.randint(1, 3) for _ in range(parts)]
    opset = d.choice([11, 13, 18])
    even = d.maybe()
    shape[axis] = parts * sizes[0] if even and opset < 18 else sum(sizes)
    x = any_of(d, shape)
    if even:
        parts = min(parts, shape[axis])
        attributes = {'axis': axis, **({'num_outputs': parts} if opset == 18 else {})}
        return Case(op, [x], attributes, opset, parts)
    if opset == 11:
        return Case(op, [x], {'axis': axis, 'split': sizes}, 11, parts)
    return Case(op, [x, np.array(sizes, np.int64)], {'axis': axis}, opset, parts, constant=(1,) if d.maybe() else ())


@family('Slice')
def slices(d, op):
    shape = d.shape(1, 4)
    axes = d.axes(len(shape))
    starts = [d.choice([0, 1, -1, -2, 2, -9, 9]) for _ in axes]
    ends = [d.choice([1, 2, -1, 9, 2**31 - 1, -9, -2**31, 2**63 - 1]) for _ in axes]
    steps = [d.choice([1, 1, 2, -1, -2]) for _ in axes]
    array = lambda values: np.array(values, np.int64)
    if d.maybe(.2):
        starts, ends = starts[:1] * len(shape), ends[:1] * len(shape)
        return Case(op, [any_of(d, shape), array(starts), array(ends)], opset=13, constant=(1, 2))
    return Case(op, [any_of(d, shape), array(starts), array(ends), array(axes)] + ([array(steps)] if d.maybe(.7) else []),
                opset=d.choice([10, 11, 13]), constant=(1, 2, 3, 4) if d.maybe(.7) else ())


@family('Pad')
def pad(d, op):
    shape = [x + 2 for x in d.shape(1, 4)]
    mode = d.choice(['constant', 'reflect', 'edge', 'wrap'])
    opset = 19 if mode == 'wrap' else d.choice([11, 13, 18])
    axes = d.axes(len(shape)) if opset >= 18 and d.maybe() else None
    count = len(axes) if axes else len(shape)
    pads = [d.randint(-1 if mode == 'constant' else 0, 2) for _ in range(2 * count)]
    dtype = d.choice(['f4', 'f4', 'i8', 'i4'])
    inputs = [d.of(dtype, shape), np.array(pads, np.int64), np.array(7, dtype) if d.maybe() and mode == 'constant' else None]
    if axes:
        inputs.append(np.array(axes, np.int64))
    elif inputs[2] is None:
        inputs.pop()
    return Case(op, inputs, {'mode': mode} if mode != 'constant' or d.maybe() else {}, opset,
                constant=(1, 2, 3) if d.maybe(.7) else ())


@family('Expand')
def expand(d, op):
    shape = d.shape(0, 4)
    want = shape
    shape = d.broadcast(shape)
    if d.maybe(.3):
        want = [1 if d.maybe(.3) else x for x in want]
    return Case(op, [any_of(d, shape), np.array(want, np.int64)], opset=13, constant=(1,) if d.maybe() else ())


@family('Tile')
def tile(d, op):
    shape = d.shape(1, 4)
    return Case(op, [any_of(d, shape), d.ints(0 if d.maybe(.1) else 1, 3, [len(shape)])], opset=13, constant=(1,) if d.maybe() else ())


@family('DepthToSpace', 'SpaceToDepth')
def depth_space(d, op):
    block = d.choice([1, 2, 3])
    c, h, w = d.choice([1, 2, 3]), d.choice([1, 2, 3]), d.choice([1, 2, 3])
    shape = [2, c * block * block, h, w] if op == 'DepthToSpace' else [2, c, h * block, w * block]
    return Case(op, [d.floats(shape)], {'blocksize': block, **({'mode': d.choice(['DCR', 'CRD'])} if op == 'DepthToSpace' and d.maybe() else {})}, 13)


@family('Trilu')
def trilu(d, op):
    inputs = [any_of(d, d.shape(2, 4))] + ([np.array(d.randint(-7, 7), np.int64)] if d.maybe() else [])
    return Case(op, inputs, {'upper': d.randint(0, 1)} if d.maybe() else {}, 14)


@family('ReverseSequence')
def reverse_sequence(d, op):
    shape = d.shape(2, 4)
    attributes = d.choice([{}, {'batch_axis': 0, 'time_axis': 1}])
    batch = attributes.get('batch_axis', 1)
    return Case(op, [d.floats(shape), d.ints(0, shape[1 - batch] + 1, [shape[batch]])], attributes, 10)


@family('ConstantOfShape')
def constant_of_shape(d, op):
    return Case(op, [np.array(d.shape(0, 4), np.int64)], opset=9, constant=(0,) if d.maybe() else ())


@family('Range')
def ranges(d, op):
    dtype = d.choice(['f4', 'i4', 'i8'])
    return Case(op, [np.array(v, dtype) for v in (d.randint(-5, 5), d.randint(-5, 9), d.choice([1, 2, -1, -3]))], opset=11)


@family('EyeLike')
def eye_like(d, op):
    return Case(op, [d.of(d.choice(['f4', 'i8']), d.shape(2, 2))], {'k': d.randint(-3, 3)} if d.maybe() else {}, 9)


@family('OneHot')
def one_hot(d, op):
    shape = d.shape(0, 3)
    dtype = d.choice(['f4', 'i8'])
    attributes = {'axis': d.randint(-len(shape) - 1, len(shape))} if d.maybe() else {}
    return Case(op, [d.ints(-4, 4, shape), np.array(d.choice([4, 5]), np.int64), np.array([2, 5], dtype)], attributes, 11)


@family('Gather')
def gather(d, op):
    shape = d.shape(1, 4)
    axis = d.randrange(-len(shape), len(shape))
    return Case(op, [any_of(d, shape), d.ints(-shape[axis], shape[axis], d.shape(0, 3), d.choice(['i4', 'i8']))],
                {'axis': axis} if axis or d.maybe() else {}, d.choice([11, 13]), constant=d.choice([(), (0,), (1,)]))


@family('GatherElements', 'ScatterElements')
def elements(d, op):
    shape = d.shape(1, 4)
    axis = d.randrange(-len(shape), len(shape))
    count = [d.randint(1, x) for x in shape]
    x = d.of(d.choice(['f4', 'i8']), shape)
    attributes = {'axis': axis} if axis or d.maybe() else {}
    if op == 'GatherElements':
        return Case(op, [x, d.ints(-shape[axis], shape[axis], count)], attributes, 13)
    order = np.argsort(d.arrays.random(shape), axis=axis)
    index = order[tuple(slice(0, c) for c in count)]
    reduction = d.choice(['none', 'add', 'mul', 'max', 'min'])
    if reduction != 'none':
        attributes['reduction'] = reduction
        index = d.ints(-shape[axis], shape[axis], count)
    return Case(op, [x, index.astype('i8'), d.of(x.dtype, count)], attributes, 18)


@family('GatherND')
def gather_nd(d, op):
    batch = d.randint(0, 1)
    shape = d.shape(batch + 1, 4)
    depth = d.randint(1, len(shape) - batch)
    outer = shape[:batch] + d.shape(0, 2)
    if len(outer) == 0:
        outer = [2]
    index = np.stack([d.ints(-shape[batch + k], shape[batch + k], outer) for k in range(depth)], -1)
    return Case(op, [any_of(d, shape), index], {'batch_dims': batch} if batch else {}, 13)


@family('ScatterND')
def scatter_nd(d, op):
    shape = d.shape(1, 4)
    depth = d.randint(1, len(shape))
    count = int(np.prod(shape[:depth]))
    flat = d.arrays.permutation(count)[:d.randint(1, count)]
    index = np.stack(np.unravel_index(flat, shape[:depth]), -1).astype('i8')
    reduction = d.choice(['none', 'add', 'mul', 'max', 'min'])
    return Case(op, [d.floats(shape), index, d.floats([len(flat)] + shape[depth:])],
                {'reduction': reduction} if reduction != 'none' else {}, 18)


@family('NonZero')
def non_zero(d, op):
    return Case(op, [d.ints(0, 2, d.shape(1, 4)).astype(d.choice(['f4', 'i8', '?']))], opset=13)


@family('Compress')
def compress(d, op):
    shape = d.shape(1, 3)
    axis = d.choice([None] + list(range(-len(shape), len(shape))))
    size = int(np.prod(shape)) if axis is None else shape[axis]
    return Case(op, [any_of(d, shape), d.of('?', [d.randint(1, size)])], {} if axis is None else {'axis': axis}, 11)


# Pictures and detection

@family('Resize')
def resize(d, op):
    rank = d.choice([3, 4, 4, 4, 5])
    shape = [1, d.choice([1, 3])] + [d.randint(1, 8) for _ in range(rank - 2)]
    mode = d.choice(['nearest', 'linear', 'cubic'])
    if mode == 'cubic' and rank != 4:
        mode = 'nearest'
    attributes = {'mode': mode}
    if d.maybe(.8):
        attributes['coordinate_transformation_mode'] = d.choice(
            ['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel'])
    if mode == 'nearest':
        attributes['nearest_mode'] = d.choice(['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'])
    if mode == 'cubic' and d.maybe():
        attributes['cubic_coeff_a'] = -.5
    if mode == 'cubic' and d.maybe():
        attributes['exclude_outside'] = 1
    opset = d.choice([11, 13, 18, 19])
    if opset >= 18 and mode != 'nearest' and d.maybe(.3):
        attributes['antialias'] = 1
    empty = np.array([], np.float32)
    if d.maybe():
        scales = [1., 1.] + [d.choice([.5, 1., 2., 3., 1.5, .75]) for _ in range(rank - 2)]
        inputs = [d.floats(shape), empty if opset < 13 else None, np.array(scales, np.float32)]
    else:
        sizes = shape[:2] + [d.randint(1, 12) for _ in range(rank - 2)]
        inputs = [d.floats(shape), empty if opset < 13 else None, empty if opset < 13 else None, np.array(sizes, np.int64)]
    return Case(op, inputs, attributes, opset, constant=(1, 2, 3))


@family('Upsample')
def upsample(d, op):
    shape = [1, 2, d.randint(1, 5), d.randint(1, 5)]
    return Case(op, [d.floats(shape), np.array([1, 1, d.choice([1., 2., 1.5]), d.choice([1., 2., 3.])], np.float32)],
                {'mode': d.choice(['nearest', 'linear'])}, 9, constant=(1,))


@family('GridSample')
def grid_sample(d, op):
    shape = [d.choice([1, 2]), d.choice([1, 3]), d.randint(1, 6), d.randint(1, 6)]
    grid = d.floats([shape[0], d.randint(1, 5), d.randint(1, 5), 2], .8)
    attributes = {'mode': d.choice(['bilinear', 'nearest', 'bicubic']), 'padding_mode': d.choice(['zeros', 'border', 'reflection'])}
    if d.maybe():
        attributes['align_corners'] = 1
    return Case(op, [d.floats(shape), grid], attributes, 16)


@family('RoiAlign')
def roi_align(d, op):
    boxes = np.sort(d.positive([3, 2, 2], 0, 9), 1).reshape(3, 4)
    attributes = {'output_height': d.randint(1, 4), 'output_width': d.randint(1, 4), 'spatial_scale': d.choice([.5, 1.])}
    if d.maybe():
        attributes['sampling_ratio'] = 2
    if d.maybe():
        attributes['mode'] = 'max' if d.maybe(.3) else 'avg'
    if attributes.get('mode') == 'max':
        attributes.pop('mode')  # onnxruntime's maximum is of samples before they are weighted
    opset = d.choice([10, 16])
    if opset == 16 and d.maybe():
        attributes['coordinate_transformation_mode'] = d.choice(['half_pixel', 'output_half_pixel'])
    return Case(op, [d.floats([2, 3, 7, 8]), boxes.astype('f4'), d.ints(0, 2, [3])], attributes, opset)


@family('NonMaxSuppression')
def nms(d, op):
    batches, boxes, classes = d.choice([1, 2]), d.randint(1, 12), d.choice([1, 3])
    center = d.maybe()
    corner = d.positive([batches, boxes, 2], 0, 1)
    size = d.positive([batches, boxes, 2], .1, .6)
    first = np.concatenate([corner, size if center else corner + size], -1).astype('f4')
    inputs = [first, d.positive([batches, classes, boxes], 0, 1), np.array([d.randint(0, 5)], np.int64),
              np.array([d.choice([0., .3, .5])], np.float32), np.array([d.choice([0., .4])], np.float32)]
    return Case(op, inputs[:d.choice([5, 5, 4, 3])], {'center_point_box': 1} if center else {}, 11)


# Recurrent

@family('RNN', 'GRU', 'LSTM')
def recurrent(d, op):
    gates = {'RNN': 1, 'GRU': 3, 'LSTM': 4}[op]
    time, batch, size, hidden = d.randint(1, 5), d.randint(1, 3), d.randint(1, 4), d.randint(1, 5)
    direction = d.choice(['forward', 'reverse', 'bidirectional'])
    ways = 2 if direction == 'bidirectional' else 1
    attributes = {'hidden_size': hidden}
    if direction != 'forward' or d.maybe():
        attributes['direction'] = direction
    if op == 'GRU' and d.maybe():
        attributes['linear_before_reset'] = 1
    if d.maybe(.2):
        attributes['clip'] = .5
    if op == 'RNN' and d.maybe(.3):
        attributes['activations'] = [d.choice(['Relu', 'Tanh', 'Sigmoid'])] * ways
    if op == 'LSTM' and d.maybe(.1):
        attributes['input_forget'] = 1
    inputs = [d.floats([time, batch, size]), d.floats([ways, gates * hidden, size], .5), d.floats([ways, gates * hidden, hidden], .5)]
    optional = [d.floats([ways, 2 * gates * hidden], .3), d.ints(1, time + 1, [batch], np.int32), d.floats([ways, batch, hidden])]
    if op == 'LSTM':
        optional += [d.floats([ways, batch, hidden]), d.floats([ways, 3 * hidden], .3)]
    for value in optional:
        inputs.append(value if d.maybe() else None)
    while inputs[-1] is None:
        inputs.pop()
    return Case(op, inputs, attributes, d.choice([7, 14]), 3 if op == 'LSTM' else 2, constant=(1, 2, 3) if d.maybe() else ())


# Quantised

def zero(d, dtype, shape=()):
    return d.ints(0 if dtype == 'u1' else -8, 9, shape, dtype)


@family('QuantizeLinear')
def quantize(d, op):
    shape = d.shape(1, 4)
    dtype = d.choice(['u1', 'i1'])
    axis = d.randrange(len(shape)) if d.maybe() else None
    size = () if axis is None else [shape[axis]]
    inputs = [d.floats(shape, 4), d.positive(size, .01, .2)] + ([zero(d, dtype, size)] if d.maybe(.8) else [])
    return Case(op, inputs, {} if axis is None else {'axis': axis}, d.choice([13, 19]))


@family('DequantizeLinear')
def dequantize(d, op):
    shape = d.shape(1, 4)
    dtype = d.choice(['u1', 'i1', 'i4'])
    axis = d.randrange(len(shape)) if d.maybe() else None
    size = () if axis is None else [shape[axis]]
    inputs = [d.of(dtype, shape), d.positive(size, .01, .2)] + ([zero(d, dtype, size)] if d.maybe(.8) and dtype != 'i4' else [])
    return Case(op, inputs, {} if axis is None else {'axis': axis}, d.choice([13, 19]))


@family('DynamicQuantizeLinear')
def dynamic_quantize(d, op):
    return Case(op, [(d.floats(d.shape(1, 3), 3) + np.float32(d.choice([0, 2, -2]))).astype('f4')], outputs=3, opset=11)


@family('MatMulInteger')
def matmul_integer(d, op):
    m, k, n = d.randint(1, 6), d.randint(1, 20), d.randint(1, 9)
    a, b = d.choice(['u1', 'i1']), d.choice(['u1', 'i1'])
    inputs = [d.ints(0, 100, [m, k], a), d.ints(0, 100, [k, n], b)]
    if d.maybe(.7):
        inputs += [zero(d, a), zero(d, b)]
    return Case(op, inputs, opset=10)


@family('ConvInteger')
def conv_integer(d, op):
    kernel, attributes, least = window(d, 2, (1, 2, 3))
    group = d.choice([1, 1, 2])
    if group > 1:
        attributes['group'] = group
    inputs = [d.ints(0, 200, picture(d, 2 * group, least), 'u1'), d.ints(0, 100, [2 * group, 2] + kernel, 'u1')]
    if d.maybe(.7):
        inputs += [zero(d, 'u1'), zero(d, 'u1')]
    return Case(op, inputs, attributes, 10)


@family('QLinearMatMul')
def qlinear_matmul(d, op):
    m, k, n = d.randint(1, 6), d.randint(1, 20), d.randint(1, 9)
    scale = lambda: d.positive((), .01, .1)
    return Case(op, [d.ints(0, 200, [m, k], 'u1'), scale(), zero(d, 'u1'), d.ints(0, 200, [k, n], 'u1'), scale(), zero(d, 'u1'), d.positive((), .3, .9),
                     zero(d, 'u1')], opset=10, constant=(3, 4, 5))


@family('QLinearConv')
def qlinear_conv(d, op):
    kernel, attributes, least = window(d, 2, (1, 2, 3))
    group = d.choice([1, 1, 2])
    if group > 1:
        attributes['group'] = group
    rows = 3 * group
    per = [rows] if d.maybe() else []
    inputs = [d.ints(0, 200, picture(d, 2 * group, least), 'u1'), d.positive((), .01, .1), zero(d, 'u1'), d.ints(-90, 100, [rows, 2] + kernel, 'i1'),
              d.positive(per, .01, .1), np.zeros(per, 'i1'), d.positive((), .3, .9), zero(d, 'u1')]
    if d.maybe():
        inputs.append(d.ints(-50, 50, [rows], np.int32))
    return Case(op, inputs, attributes, 10, constant=(3, 4, 5, 8))


# ONNX Runtime's own

@family('microsoft.Gelu', 'microsoft.QuickGelu', 'microsoft.FastGelu', 'microsoft.BiasGelu')
def gelus(d, op):
    shape = d.shape(1, 4)
    op = op.split('.')[1]
    inputs = [d.floats(shape, 2)]
    if op == 'BiasGelu' or (op == 'FastGelu' and d.maybe()):
        inputs.append(d.floats(shape[-1:]))
    return Case(op, inputs, {'alpha': 1.5} if op == 'QuickGelu' and d.maybe() else {}, domain='com.microsoft')


@family('microsoft.SkipLayerNormalization', 'microsoft.SkipSimplifiedLayerNormalization')
def skip_layer_norm(d, op):
    op = op.split('.')[1]
    simplified = op == 'SkipSimplifiedLayerNormalization'
    b, s, h = d.randint(1, 3), d.randint(1, 4), d.choice([4, 8, 12])
    inputs = [d.floats([b, s, h]), d.floats([b, s, h]), d.floats([h])]
    if not simplified:
        inputs.append(d.floats([h]) if d.maybe(.8) else None)
    inputs.append(d.floats([h]) if d.maybe() else None)
    while inputs[-1] is None:
        inputs.pop()
    return Case(op, inputs, {'epsilon': 1e-5} if d.maybe() else {}, domain='com.microsoft', skip=(1, 2),
                outputs=d.choice([1, 4]))


@family('microsoft.FusedConv')
def fused_conv(d, op):
    case = conv(d, 'Conv')
    activation = d.choice(['Relu', 'Tanh', 'Sigmoid', 'LeakyRelu', 'Clip', 'HardSigmoid'])
    parameters = {'LeakyRelu': [.1], 'Clip': [-1., 1.], 'HardSigmoid': [.2, .5]}.get(activation)
    case.attributes['activation'] = activation
    if parameters:
        case.attributes['activation_params'] = parameters
    return Case('FusedConv', case.inputs, case.attributes, domain='com.microsoft')


@family('microsoft.FusedMatMul', 'microsoft.TransposeMatMul')
def fused_matmul(d, op):
    m, k, n = (d.choice([1, 2, 5, 9]) for _ in range(3))
    attributes = {key: d.randint(0, 1) for key in ('transA', 'transB') if d.maybe(.7)}
    if d.maybe():
        attributes['alpha'] = .5
    batch = d.shape(0, 2)
    a = batch + ([k, m] if attributes.get('transA') else [m, k])
    b = batch + ([n, k] if attributes.get('transB') else [k, n])
    return Case(op.split('.')[1], [d.floats(a), d.floats(b)], attributes, domain='com.microsoft')


def quantised(d, shape, dtype='u1'):
    """A tensor, its scale and its zero point."""
    return [d.ints(0, 200, shape, dtype), d.positive((), .01, .1), zero(d, dtype)]


@family('microsoft.QLinearAdd', 'microsoft.QLinearMul')
def qlinear_binary(d, op):
    shape = d.shape(1, 4)
    inputs = quantised(d, shape) + quantised(d, d.broadcast(shape)) + [d.positive((), .1, .3), zero(d, 'u1')]
    return Case(op.split('.')[1], inputs, domain='com.microsoft', constant=(1, 2, 4, 5, 6, 7))


@family('microsoft.QLinearSigmoid', 'microsoft.QLinearLeakyRelu', 'microsoft.QLinearAveragePool', 'microsoft.QLinearGlobalAveragePool')
def qlinear_unary(d, op):
    op = op.split('.')[1]
    inputs = quantised(d, [1, 3, 5, 6]) + [d.positive((), .02, .3), zero(d, 'u1')]
    attributes = {'QLinearLeakyRelu': {'alpha': .2}, 'QLinearAveragePool': {'kernel_shape': [2, 3], 'strides': [2, 1]}}.get(op, {})
    return Case(op, inputs, attributes, domain='com.microsoft', constant=(1, 2, 3, 4))


@family('microsoft.QLinearConcat')
def qlinear_concat(d, op):
    parts = [quantised(d, [2, d.randint(1, 4), 3]) for _ in range(d.randint(1, 3))]
    inputs = [d.positive((), .02, .3), zero(d, 'u1')] + sum(parts, [])
    return Case('QLinearConcat', inputs, {'axis': 1}, domain='com.microsoft')


@family('microsoft.QGemm')
def qgemm(d, op):
    m, k, n = d.randint(1, 5), d.randint(1, 9), d.randint(1, 6)
    transposed = d.randint(0, 1)
    per = [n] if d.maybe() else []
    inputs = quantised(d, [m, k]) + [d.ints(-90, 100, [n, k] if transposed else [k, n], 'i1'), d.positive(per, .01, .1), np.zeros(per, 'i1')]
    inputs.append(d.ints(-50, 50, [n], np.int32) if d.maybe() else None)
    if d.maybe():
        inputs += [d.positive((), .3, .9), zero(d, 'u1')]
    while inputs[-1] is None:
        inputs.pop()
    return Case('QGemm', inputs, {'transB': transposed, 'alpha': 1.}, domain='com.microsoft', constant=(1, 2, 3, 4, 5, 6, 7, 8))


@family('microsoft.MatMulIntegerToFloat', 'microsoft.DynamicQuantizeMatMul')
def matmul_to_float(d, op):
    op = op.split('.')[1]
    m, k, n = d.randint(1, 5), d.randint(1, 9), d.randint(1, 6)
    per = [n] if d.maybe() else []
    b = [d.ints(0, 200, [k, n], 'u1'), d.positive(per or [1], .01, .1), zero(d, 'u1', per or [1])]
    bias = [d.floats([n])] if d.maybe() else []
    if op == 'DynamicQuantizeMatMul':
        return Case(op, [d.floats([m, k])] + b + bias, domain='com.microsoft', constant=(1, 2, 3, 4))
    inputs = [d.ints(0, 200, [m, k], 'u1'), b[0], d.positive([1], .01, .1), b[1], zero(d, 'u1', [1]), b[2]]
    return Case(op, inputs + bias, domain='com.microsoft', constant=(1, 2, 3, 4, 5, 6))


@family('microsoft.FusedGemm')
def fused_gemm(d, op):
    case = gemm(d, 'Gemm')
    case.attributes['activation'] = d.choice(['Relu', 'Tanh', 'Sigmoid', 'LeakyRelu'])
    if case.attributes['activation'] == 'LeakyRelu':
        case.attributes['activation_alpha'] = .1
    return Case('FusedGemm', case.inputs, case.attributes, domain='com.microsoft')


@family('SimplifiedLayerNormalization')
def simplified_layer_norm(d, op):
    shape = d.shape(2, 3)
    return Case(op, [d.floats(shape), d.floats(shape[-1:])], {'epsilon': 1e-5, 'axis': -1}, 13)


def draw(seed, count, only=None):
    """`count` cases of each operator; the same for the same seed."""
    for op, function in FAMILIES.items():
        if only and op not in only:
            continue
        for k in range(count):
            yield function(Draw(seed_of(seed, op, k)), op)


def seed_of(seed, op, k):
    value = seed
    for c in f'{op} {k}':
        value = (value * 1000003 + ord(c)) % (1 << 61)
    return value
