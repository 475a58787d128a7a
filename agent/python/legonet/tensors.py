"""Between numpy's arrays and the protocol's raw tensors: dense, row-major, little-endian."""
import dataclasses
import math

import numpy

from legonet import errors

DTYPES = {
    "BOOL": numpy.dtype("bool"),
    "INT8": numpy.dtype("i1"), "INT16": numpy.dtype("<i2"), "INT32": numpy.dtype("<i4"),
    "INT64": numpy.dtype("<i8"),
    "UINT8": numpy.dtype("u1"), "UINT16": numpy.dtype("<u2"), "UINT32": numpy.dtype("<u4"),
    "UINT64": numpy.dtype("<u8"),
    "FP16": numpy.dtype("<f2"), "FP32": numpy.dtype("<f4"), "FP64": numpy.dtype("<f8"),
}
_NAMES = {(dtype.kind, dtype.itemsize): name for name, dtype in DTYPES.items()}
_BYTES_PREFIX = 4


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Raw bytes with the protocol's datatype, for what numpy has no type for (BF16)."""
    datatype: str
    shape: tuple
    data: bytes


def encode(value):
    """A Tensor from an array (or what numpy makes one of); E_TYPE for other kinds of elements."""
    if isinstance(value, Tensor):
        return value
    array = numpy.asarray(value)
    name = _NAMES.get((array.dtype.kind, array.dtype.itemsize))
    if name is None:
        raise errors.DatatypeError(f"the protocol has no datatype for numpy's {array.dtype}")
    data = numpy.ascontiguousarray(array, dtype=DTYPES[name])
    return Tensor(name, array.shape, data.tobytes())


def nbytes(datatype, shape):
    """Bytes of a dense tensor of that datatype and shape."""
    if datatype == "BF16":
        return 2 * math.prod(shape)
    if datatype not in DTYPES:
        raise errors.DatatypeError(f"tensors of datatype {datatype} have no fixed size")
    return DTYPES[datatype].itemsize * math.prod(shape)


def _split_bytes(raw):
    """The elements of a BYTES tensor: each a length of 4 bytes and so many bytes."""
    elements, at = [], 0
    while at < len(raw):
        length = int.from_bytes(raw[at:at + _BYTES_PREFIX], "little")
        at += _BYTES_PREFIX + length
        if at > len(raw):
            raise errors.FormatError("a BYTES tensor is cut short")
        elements.append(bytes(raw[at - length:at]))
    return elements


def decode(datatype, shape, raw):
    """An array that borrows `raw`: read-only where that is. BF16 becomes float32, BYTES objects."""
    try:
        if datatype == "BYTES":
            return numpy.array(_split_bytes(raw), dtype=object).reshape(shape)
        if datatype == "BF16":
            halves = numpy.frombuffer(raw, "<u2").astype("<u4") << 16
            return halves.view("<f4").reshape(shape)
        return numpy.frombuffer(raw, DTYPES[datatype]).reshape(shape)
    except KeyError:
        raise errors.FormatError(f"the agent answers an unknown datatype {datatype}") from None
    except ValueError as error:
        raise errors.FormatError(f"a tensor of {len(raw)} bytes is no {datatype} {list(shape)}") from error
