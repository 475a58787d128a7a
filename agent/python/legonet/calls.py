"""Every call of the protocol: how its request is made and what its answer becomes.

The clients share the methods of Calls; they differ in how they ask.
"""
import dataclasses
from typing import Callable

from legonet import errors, protocol, results, tensors
from legonet.regions import Region, RegionTensor

MAX_PRIORITY = 10
MAX_STREAM_BYTES = 128


@dataclasses.dataclass
class Call:
    """A request without its id, the descriptors that go with it, and what makes a value of the answer."""
    request: object
    convert: Callable
    fds: tuple = ()


def _call(call, convert=lambda response: None, /, **fields):
    request = protocol.Request()
    message = getattr(request, call)
    message.SetInParent()
    for key, value in fields.items():
        setattr(message, key, value)
    return Call(request, convert)


def _set_place(parameters, place):
    parameters["shared_memory_region"].string_param = place.region
    parameters["shared_memory_offset"].int64_param = place.offset
    parameters["shared_memory_byte_size"].int64_param = place.nbytes


def _add_inputs(infer, inputs):
    for name, value in inputs.items():
        tensor = value if isinstance(value, RegionTensor) else tensors.encode(value)
        entry = infer.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        if isinstance(tensor, RegionTensor):
            _set_place(entry.parameters, tensor)
        else:
            infer.raw_input_contents.append(tensor.data)


def _add_outputs(infer, outputs, top):
    """Names, or a dict from names to places in regions (None: in the answer)."""
    places = outputs if isinstance(outputs, dict) else dict.fromkeys(outputs or ())
    for name, place in places.items():
        entry = infer.outputs.add(name=name)
        if place is not None:
            _set_place(entry.parameters, place)
    if top:
        if not infer.outputs:
            raise errors.InvalidError("to ask for classes, name the output in outputs")
        infer.outputs[0].parameters["classification"].int64_param = top
    return {name: place for name, place in places.items() if place is not None}


def _add_schedule(infer, priority, deadline, stream):
    if not 0 <= priority <= MAX_PRIORITY:
        raise errors.InvalidError(f"priority {priority} is not from 1 to {MAX_PRIORITY}")
    if len(stream.encode()) > MAX_STREAM_BYTES:
        raise errors.InvalidError(f"the name of a stream has at most {MAX_STREAM_BYTES} bytes")
    if deadline is not None and deadline <= 0:
        raise errors.InvalidError(f"a deadline of {deadline} seconds is over before it begins")
    if priority:
        infer.parameters["priority"].int64_param = priority
    if deadline is not None:
        infer.parameters["timeout"].int64_param = max(1, round(deadline * 1e6))
    if stream:
        infer.parameters["stream"].string_param = stream


def infer(model, inputs=None, *, frames=(), version="", outputs=None, top=0, answers=None, priority=0, deadline=None, stream=""):
    """The call of Calls.infer."""
    if not model:
        raise errors.InvalidError("a request needs the name of a model")
    call = _call("model_infer", model_name=model, model_version=version)
    message = call.request.model_infer
    _add_inputs(message, inputs or {})
    for frame in frames:
        frame.fill(call.request.pictures.add())
    places = _add_outputs(message, outputs, top)
    if answers is not None:
        call.request.result_request.SetInParent()
        for key, value in answers.items():
            setattr(call.request.result_request, key, value)
    _add_schedule(message, priority, deadline, stream)
    call.convert = lambda response: results.result_from(response, places)
    return call


def cancel(request_id):
    """Takes an inference back; True where it was still unanswered."""
    return _call("cancel", lambda response: response.cancel.found, id=request_id)


def _models_from(response):
    return [results.ModelState(m.name, m.version, m.state, m.reason)
            for m in response.repository_index.models]


def _server_from(response):
    answer = response.server_metadata
    return results.Server(answer.name, answer.version, tuple(answer.extensions))


class Calls:
    """The calls. Each returns its value, or under asyncio something to await."""

    def _ask(self, call):
        raise NotImplementedError

    def infer(self, model, inputs=None, **options):
        """A Result. `inputs`: a dict from names to arrays, Tensors, or RegionTensors.

        frames    Frames in place of the input that takes pictures: its batch, in order
        version   the model's; empty: the highest that serves
        outputs   names of those wanted (none: all), or a dict from names to RegionTensors (None: in the answer)
        top       the best classes of the first of `outputs`, which must be named, instead of its numbers
        answers   a dict, {} or with top, score, max_detections, max_mask_side: what the model's heads say comes as
                  Result.answers, and outputs only where they are named
        priority  1 goes first, 10 last; 0: the model's own
        deadline  seconds: a request that waits longer in the agent is not run (DeadlineError)
        stream    the latest frame wins: a newer request of the stream takes the place of those that wait
                  (CancelledError)
        """
        return self._ask(infer(model, inputs, **options))

    def model(self, name, version=""):
        """A Model: what that version takes and gives."""
        return self._ask(_call("model_metadata", results.model_from, name=name, version=version))

    def model_ready(self, name, version=""):
        """True where it serves; an unknown model does not."""
        return self._ask(_call("model_ready", lambda r: r.model_ready.ready, name=name,
                               version=version))

    def models(self):
        """A list of ModelStates: every model that the agent knows."""
        return self._ask(_call("repository_index", _models_from))

    def load(self, name):
        """Loads a model (again) from its configured path; returns when it serves."""
        return self._ask(_call("repository_model_load", model_name=name))

    def unload(self, name):
        """The model stops serving."""
        return self._ask(_call("repository_model_unload", model_name=name))

    def rollback(self, name):
        """Goes back to what served before the last switch."""
        return self._ask(_call("repository_model_rollback", model_name=name))

    def live(self):
        """True while the agent answers."""
        return self._ask(_call("server_live", lambda r: r.server_live.live))

    def ready(self):
        """True once all configured models serve."""
        return self._ask(_call("server_ready", lambda r: r.server_ready.ready))

    def server(self):
        """The Server: name, version and extensions."""
        return self._ask(_call("server_metadata", _server_from))

    def statistics(self, name="", version=""):
        """The protocol's ModelStatistics messages; no name: of all models."""
        return self._ask(_call("model_statistics", lambda r: list(r.model_statistics.model_stats),
                               name=name, version=version))

    def metrics(self):
        """All that the agent counts, in Prometheus' text format."""
        return self._ask(_call("metrics", lambda r: r.metrics.text))

    def register(self, name, fd, byte_size=0, writable=False):
        """Shares memory with the agent: a memfd sealed with F_SEAL_SHRINK, or a dma-buf. 0 bytes: all of it.

        The descriptor stays the caller's and may be closed afterwards."""
        call = _call("region_register")
        call.request.region_register.regions.add(name=name, byte_size=byte_size, writable=writable)
        call.fds = (fd,)
        return self._ask(call)

    def region(self, name, size, writable=True):
        """A new Region of this process, registered."""
        region = Region(name, size)
        try:
            return self._ask(self._register_call(region, writable))
        except BaseException:
            region.close()
            raise

    @staticmethod
    def _register_call(region, writable):
        call = _call("region_register", lambda response: region)
        call.request.region_register.regions.add(name=region.name, writable=writable)
        call.fds = (region.fd,)
        return call

    def unregister(self, *names):
        """Ends the sharing of those regions; none: of all. Requests that came before still use them."""
        call = _call("region_unregister")
        call.request.region_unregister.names.extend(names)
        return self._ask(call)

    def regions(self):
        """The connection's regions, as the protocol's messages: name, byte_size, writable, kind."""
        return self._ask(_call("region_status", lambda r: list(r.region_status.regions)))
