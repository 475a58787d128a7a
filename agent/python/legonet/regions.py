"""Memory that the agent reads inputs from and writes outputs to, by file descriptor."""
import dataclasses
import fcntl
import mmap
import os

from legonet import errors, tensors


@dataclasses.dataclass(frozen=True)
class RegionTensor:
    """A tensor's place in a registered region: an input of infer(), or where an output is to be put."""
    region: str
    datatype: str
    shape: tuple
    offset: int = 0

    @property
    def nbytes(self):
        return tensors.nbytes(self.datatype, self.shape)


class Region:
    """A sealed memfd of this process, mapped. Client.region() makes one and registers it."""

    def __init__(self, name, size):
        self.name = name
        self.size = size
        self.fd = os.memfd_create(f"legonet-{name}"[:200], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self.memory = mmap.mmap(self.fd, size)
        except BaseException:
            os.close(self.fd)
            raise

    def tensor(self, datatype, shape, offset=0):
        """The place of a tensor, checked against the region's size."""
        place = RegionTensor(self.name, datatype, tuple(shape), offset)
        if offset < 0 or offset + place.nbytes > self.size:
            raise errors.InvalidError(f"{place.nbytes} bytes at {offset} are outside of region "
                                      f"'{self.name}' of {self.size}")
        return place

    def array(self, place):
        """The tensor at that place as an array that shares the region's memory."""
        view = memoryview(self.memory)[place.offset:place.offset + place.nbytes]
        return tensors.decode(place.datatype, place.shape, view)

    def put(self, array, offset=0):
        """Copies an array into the region and returns its place."""
        tensor = tensors.encode(array)
        place = self.tensor(tensor.datatype, tensor.shape, offset)
        self.memory[offset:offset + len(tensor.data)] = tensor.data
        return place

    def close(self):
        """Closes the descriptor; the memory goes when no array and no agent uses it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
