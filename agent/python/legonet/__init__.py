"""Asks the LegoNet inference agent (legonetd) over its Unix socket.

    import legonet
    with legonet.Client() as client:
        result = client.infer("demo", {"input": array})
        print(result["logits"], result.compute_ns)

Client blocks, or pipelines with submit() and a descriptor to poll; AsyncClient is the same under asyncio.
Whatever the agent refuses is an exception of legonet.errors with the agent's sentence.
"""
from legonet.aio import AsyncClient
from legonet.client import DEFAULT_SOCKET, Client, Reply
from legonet.errors import Error
from legonet.frames import Frame
from legonet.regions import Region, RegionTensor
from legonet.results import (Answer, Class, Detection, Keypoint, Mask, Model, ModelState, Result, Server,
                             TensorInfo)
from legonet.tensors import Tensor

__all__ = ["Answer", "AsyncClient", "Class", "Client", "DEFAULT_SOCKET", "Detection", "Error", "Frame", "Keypoint",
           "Mask", "Model", "ModelState", "Region",
           "RegionTensor", "Reply", "Result", "Server", "Tensor", "TensorInfo", "errors"]
