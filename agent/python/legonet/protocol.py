"""The protocol's messages, from the descriptors that protoc compiled when the package was built.

They live in a pool of their own: other packages may bring the Open Inference Protocol's messages, too, and one
pool takes each name once.
"""
import pkgutil
import struct

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from legonet import errors

MAX_FRAME_BYTES = 16 << 20
_HEADER = struct.Struct("<I")


def _load_pool():
    files = descriptor_pb2.FileDescriptorSet.FromString(pkgutil.get_data(__name__, "protocol.desc"))
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _load_pool()


def message(name):
    """The class of a message by its full name."""
    descriptor = _POOL.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_POOL).GetPrototype(descriptor)


Request = message("legonet.Request")
Response = message("legonet.Response")
STATUS_NAMES = {v.number: v.name for v in _POOL.FindEnumTypeByName("legonet.Status").values}


def enum_value(enum, name):
    """The number of a value of one of the protocol's enumerations."""
    return _POOL.FindEnumTypeByName(enum).values_by_name[name].number


def enum_name(enum, number):
    """The name of a number; the number itself as text where a newer agent has one more."""
    value = _POOL.FindEnumTypeByName(enum).values_by_number.get(number)
    return value.name if value else str(number)


def pack(request, limit=MAX_FRAME_BYTES):
    """A frame: the length of the body and the body."""
    body = request.SerializeToString()
    if len(body) > limit:
        raise errors.LimitError(f"a request of {len(body)} bytes is larger than a frame ({limit})")
    return _HEADER.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they come and gives whole responses."""

    def __init__(self, limit=MAX_FRAME_BYTES):
        self._limit = limit
        self._bytes = bytearray()

    def feed(self, data):
        self._bytes += data

    def next(self):
        """The next response, None where it has not come whole. LimitError, FormatError."""
        if len(self._bytes) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._bytes)
        if length == 0:
            raise errors.FormatError("the agent sends an empty frame")
        if length > self._limit:
            raise errors.LimitError(f"an answer of {length} bytes is over the limit of {self._limit}")
        end = _HEADER.size + length
        if len(self._bytes) < end:
            return None
        response = Response()
        try:
            response.ParseFromString(bytes(memoryview(self._bytes)[_HEADER.size:end]))
        except Exception as error:  # DecodeError, or what an older runtime raises for bad UTF-8
            raise errors.FormatError(f"the agent's answer cannot be read: {error}") from error
        del self._bytes[:end]
        return response
