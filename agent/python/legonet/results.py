"""What the agent answers, as plain objects."""
import dataclasses
import json
from typing import Optional

import numpy

from legonet import errors, protocol, tensors


@dataclasses.dataclass(frozen=True)
class Class:
    """One class of a classification, counted from 0; the label is empty where the model has none."""
    index: int
    score: float
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Keypoint:
    """In pixels as a Detection's box; the score is 0 where the model gives none."""
    x: float
    y: float
    score: float


@dataclasses.dataclass(frozen=True)
class Detection:
    """A box in pixels of the frame as it was sent; without a frame, of the model's input."""
    left: float
    top: float
    right: float
    bottom: float
    score: float
    index: int
    label: str
    keypoints: tuple


@dataclasses.dataclass(frozen=True)
class Mask:
    """What each pixel shows, of the part of the frame that the model has seen.

    left, top, right, bottom    that part in pixels of the frame as it was sent; without a frame, of the model's input
    values                      uint16, height x width: 0 where a pixel is of no class, k + 1 where it is of class k
    """
    left: int
    top: int
    right: int
    bottom: int
    values: numpy.ndarray


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one head of the model says of one row of the batch: classes, detections (the best first), a text, a mask."""
    row: int
    head: str
    kind: str  # CLASSIFICATION, DETECTION, TEXT or SEGMENTATION
    classes: tuple  # of a mask those that it shows, the largest first; scores are their parts of it
    detections: tuple
    text: str
    text_score: float
    mask: Optional[Mask] = None


@dataclasses.dataclass
class Result:
    """An inference. Arrays are read-only; an output in a region is its RegionTensor."""
    model: str
    version: str
    outputs: dict
    classes: list  # of all pictures of the batch, one after the other, best first
    queue_ns: int = 0  # in the agent: waiting, unpacking and checking, computing; 0: unknown
    decode_ns: int = 0
    compute_ns: int = 0
    answers: list = dataclasses.field(default_factory=list)  # where `results` were asked for

    def __getitem__(self, name):
        return self.outputs[name]


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """A model's input or output; sizes that it leaves open are -1."""
    name: str
    datatype: str
    shape: tuple


@dataclasses.dataclass
class Model:
    """What a model takes and gives."""
    name: str
    version: str
    inputs: list
    outputs: list
    labels: list  # class k is labels[k]
    preprocess: dict  # how a picture becomes the input, see PROTOCOL.md; None: it takes no pictures
    properties: dict


@dataclasses.dataclass(frozen=True)
class ModelState:
    """An entry of the repository: READY, LOADING or UNAVAILABLE, and why."""
    name: str
    version: str
    state: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Server:
    """The agent itself; ready once all configured models serve."""
    name: str
    version: str
    extensions: tuple


def model_from(response):
    answer = response.model_metadata
    properties = dict(answer.properties)
    labels, preprocess = properties.get("labels"), properties.get("preprocess")

    def infos(entries):
        return [TensorInfo(e.name, e.datatype, tuple(e.shape)) for e in entries]

    return Model(answer.name, answer.versions[0] if answer.versions else "", infos(answer.inputs),
                 infos(answer.outputs), labels.split("\n") if labels else [],
                 json.loads(preprocess) if preprocess else None, properties)


def class_from(text):
    """A Class from "value:index" or "value:index:label"."""
    parts = text.decode("utf-8", "replace").split(":", 2)
    try:
        return Class(int(parts[1]), float(parts[0]), parts[2] if len(parts) > 2 else "")
    except (ValueError, IndexError):
        raise errors.FormatError(f"the class {text!r} cannot be read") from None


def _place_of(output, places):
    """Where the agent put an output: the caller's own place, None for an output that was sent."""
    if "shared_memory_region" not in output.parameters:
        return None
    place = places.get(output.name)
    if place is None:
        raise errors.FormatError(f"output '{output.name}' was put where nobody asked for it")
    return dataclasses.replace(place, datatype=output.datatype, shape=tuple(output.shape))


def _mask_from(mask):
    runs = numpy.array(mask.runs, numpy.uint32)
    pixels = mask.width * mask.height
    sides = (mask.width, mask.height, mask.right, mask.bottom)
    if (min(sides) < 1 or max(sides) > 16384 or mask.left >= mask.right or mask.top >= mask.bottom or runs.size % 2
            or runs[::2].max(initial=0) > 65535 or runs[1::2].sum(dtype=numpy.uint64) != pixels):
        raise errors.FormatError("the answer's mask is not what its runs say")
    values = numpy.repeat(runs[::2].astype(numpy.uint16), runs[1::2]).reshape(mask.height, mask.width)
    values.flags.writeable = False
    return Mask(mask.left, mask.top, mask.right, mask.bottom, values)


def _answer_from(result):
    classes = tuple(Class(c.index, c.score, c.label) for c in result.classes)
    detections = tuple(
        Detection(d.left, d.top, d.right, d.bottom, d.score, d.index, d.label,
                  tuple(Keypoint(k.x, k.y, k.score) for k in d.keypoints))
        for d in result.detections)
    kind = protocol.enum_name("legonet.Result.Kind", result.kind)
    return Answer(result.row, result.head, kind, classes, detections, result.text.text, result.text.score,
                  _mask_from(result.mask) if result.HasField("mask") else None)


def result_from(response, places):
    """The Result of an inference whose outputs `places` (by name) were to be put in regions."""
    answer = response.model_infer
    if len(answer.raw_output_contents) != len(answer.outputs):
        raise errors.FormatError("the agent's answer lacks the data of its outputs")
    result = Result(answer.model_name, answer.model_version, {}, [])
    for output, raw in zip(answer.outputs, answer.raw_output_contents):
        place = _place_of(output, places)
        array = place or tensors.decode(output.datatype, tuple(output.shape), raw)
        result.outputs[output.name] = array
        if output.datatype == "BYTES" and not result.classes:
            result.classes = [class_from(text) for text in array.ravel()]
    for key in ("queue_ns", "decode_ns", "compute_ns"):
        if key in answer.parameters:
            setattr(result, key, answer.parameters[key].int64_param)
    result.answers = [_answer_from(one) for one in response.results]
    return result
