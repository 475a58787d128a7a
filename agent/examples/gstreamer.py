#!/usr/bin/env python3
"""Any GStreamer source into the agent, frames by file descriptor.

    gstreamer.py MODEL [FRAMES [SOURCE]]
    gstreamer.py demo 100 "v4l2src device=/dev/video0"

Frames that are file descriptors already (dma-bufs of a camera or decoder) go to the agent as they are; others are
copied once, into a memfd that the agent maps. The newest frame wins: those that the agent had no time for are counted.
Needs python3-gi, gir1.2-gst-plugins-base-1.0 and the plugins of the source.
"""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
gi.require_version("GstAllocators", "1.0")
from gi.repository import Gst, GstAllocators, GstApp, GstVideo  # noqa: E402, F401

import legonet  # noqa: E402

RING = 4  # frames that may be under way
SOURCE = "videotestsrc is-live=true"


class Camera:
    """Gives frames of a pipeline as legonet.Frames."""

    def __init__(self, client, source):
        self.client = client
        self.pipeline = Gst.parse_launch(
            f"{source} ! videoconvert ! video/x-raw,format=NV12 ! appsink name=sink max-buffers=1 drop=true")
        self.sink = self.pipeline.get_by_name("sink")
        self.ring = None
        self.slot = 0
        self.known = {}
        self.pipeline.set_state(Gst.State.PLAYING)

    def close(self):
        self.pipeline.set_state(Gst.State.NULL)

    def next(self):
        """The next frame with what keeps its memory, None at the end."""
        sample = self.sink.emit("pull-sample")
        if sample is None:
            return None
        info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
        buffer = sample.get_buffer()
        region, offset = self._region_of(buffer)
        planes = tuple((info.offset[i], info.stride[i]) for i in range(info.finfo.n_planes))
        return legonet.Frame("NV12", info.width, info.height, region=region, offset=offset,
                             planes=planes), sample

    def _region_of(self, buffer):
        memory = buffer.peek_memory(0)
        if buffer.n_memory() == 1 and GstAllocators.is_dmabuf_memory(memory):
            fd = GstAllocators.dmabuf_memory_get_fd(memory)
            if fd not in self.known:
                self.known[fd] = f"dma-buf {fd}"
                self.client.register(self.known[fd], fd)
            return self.known[fd], memory.offset
        if self.ring is None:
            self.size = buffer.get_size()
            self.ring = self.client.region("ring", RING * self.size, writable=False)
        offset = self.slot * self.size
        self.slot = (self.slot + 1) % RING
        done, mapped = buffer.map(Gst.MapFlags.READ)
        if not done:
            raise RuntimeError("a frame cannot be mapped")
        self.ring.memory[offset:offset + len(mapped.data)] = mapped.data
        buffer.unmap(mapped)
        return "ring", offset


def main():
    model = sys.argv[1]
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    Gst.init(None)
    with legonet.Client() as client:
        output = client.model(model).outputs[0].name
        camera = Camera(client, sys.argv[3] if len(sys.argv) > 3 else SOURCE)
        waiting, answered, dropped = [], 0, 0
        for number in range(wanted):
            got = camera.next()
            if got is None:
                break
            frame, sample = got
            reply = client.submit(model, frames=[frame], outputs=[output], top=1, stream="camera")
            waiting.append((number, reply, sample))
            while waiting and (len(waiting) == RING or waiting[0][1].done()):
                answered, dropped = show(waiting.pop(0), answered, dropped)
            client.process()
        for one in waiting:
            answered, dropped = show(one, answered, dropped)
        camera.close()
        print(f"{answered} answered, {dropped} overtaken")


def show(one, answered, dropped):
    number, reply, _ = one
    try:
        best = reply.result(30).classes[0]
    except legonet.errors.CancelledError:
        return answered, dropped + 1
    print(f"frame {number}: {best.label or best.index} {best.score:.3f}")
    return answered + 1, dropped


if __name__ == "__main__":
    main()
