"""Pictures as cameras and decoders leave them, which the agent resizes and converts."""
import dataclasses
from typing import Optional

import numpy

from legonet import errors, protocol

_ENUMS = {"resize": "legonet.Picture.Resize", "filter": "legonet.Picture.Filter"}


@dataclasses.dataclass
class Frame:
    """A picture in place of an input. Either `data` (bytes or an array's memory), which is sent, or a `region`.

    fourcc      V4L2's format: RGB3, BGR3, AB24 (R, G, B, A), GREY, NV12, NV21, YU12 (I420), YUYV, MJPG
    planes      (offset, stride) of each in bytes, or (offset, stride, region) of one with memory of its own; none: one
                after the other without gaps
    crop        (x, y, width, height); None: all of it
    rotation    degrees clockwise, after the crop: 0, 90, 180, 270
    resize      MODEL (as the model says), STRETCH, FIT_SHORTEST, FIT_LONGEST, LETTERBOX
    filter      MODEL, BILINEAR, AREA
    bt709, full_range   of formats with luma and chroma; else BT.601, limited
    input       of the model; empty: the one that takes pictures
    """
    fourcc: str
    width: int = 0  # of MJPG both may be 0: as the picture says
    height: int = 0
    data: object = None
    region: str = ""
    offset: int = 0
    byte_size: int = 0  # 0: up to the region's end
    planes: tuple = ()
    crop: Optional[tuple] = None
    rotation: int = 0
    resize: str = "MODEL"
    filter: str = "MODEL"
    bt709: bool = False
    full_range: bool = False
    input: str = ""

    @classmethod
    def of_array(cls, array, **fields):
        """A frame of 8-bit pixels: height x width (grey) or height x width x 3 (RGB)."""
        array = numpy.ascontiguousarray(array)
        if array.dtype != numpy.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
            raise errors.InvalidError(f"an array of {array.dtype} {list(array.shape)} is no picture")
        fourcc = "GREY" if array.ndim == 2 else "RGB3"
        return cls(fourcc, array.shape[1], array.shape[0], array.tobytes(), **fields)

    @classmethod
    def of_jpeg(cls, data, **fields):
        """A frame of a JPEG file's bytes."""
        return cls("MJPG", data=data, **fields)

    def fill(self, picture):
        """For the calls' own use: sets the protocol's message."""
        code = self.fourcc.encode("latin-1", "replace")
        if len(code) != 4:
            raise errors.InvalidError(f"the format {self.fourcc!r} has not four characters")
        picture.fourcc = int.from_bytes(code, "little")
        picture.width, picture.height, picture.input = self.width, self.height, self.input
        if self.region:
            picture.region = self.region
            picture.offset, picture.byte_size = self.offset, self.byte_size
        elif self.data is not None:
            picture.data = bytes(self.data)
        elif not self.planes or any(len(plane) < 3 for plane in self.planes):
            raise errors.InvalidError("a frame needs a region or data")
        for offset, stride, *region in self.planes:
            picture.planes.add(offset=offset, stride=stride, region=region[0] if region else "")
        if self.crop is not None:
            crop = picture.crop
            crop.x, crop.y, crop.width, crop.height = self.crop
        picture.rotation = self.rotation
        for field, enum in _ENUMS.items():
            name = getattr(self, field)
            try:
                setattr(picture, field, protocol.enum_value(enum, f"{field.upper()}_{name}"))
            except KeyError:
                raise errors.InvalidError(f"there is no {field} {name!r}") from None
        picture.matrix, picture.range = int(self.bt709), int(self.full_range)
