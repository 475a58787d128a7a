#!/usr/bin/env python3
"""Many cameras at one agent, where the latest frame wins: how old answers are, and what is dropped.

Each stream has a connection of its own and gives 640x480 YUYV frames in a memfd at its rate, whatever the agent does.
Printed: frames, answers, those overtaken, refused and failed, the age of answers (from a frame's capture to its
answer) in milliseconds, the most requests of one stream without an answer, the agent's longest queue as it was seen
each second.

usage: streams.py --legonetd build/release/agent/legonetd MODEL.lego [--streams 30] [--rate 10] [--seconds 20]
       PYTHONPATH=build/release/agent/python, where the client is
"""
import argparse
import os
import re
import select
import subprocess
import tempfile
import time

import legonet

WIDTH, HEIGHT = 640, 480
FRAME = 2 * WIDTH * HEIGHT
SLOTS = 8  # of each stream's region: a frame stays as it is until its answer has come


class Stream:
    def __init__(self, path, model, output, number, period):
        self.client = legonet.Client(path)
        self.region = self.client.region("frames", SLOTS * FRAME, writable=False)
        self.region.memory[:] = bytes((i * 7 + number) % 251 for i in range(4096)) * (SLOTS * FRAME // 4096)
        self.model, self.output, self.number, self.period = model, output, number, period
        self.busy = set()
        self.sent = self.answered = self.overtaken = self.refused = self.failed = self.most = 0
        self.ages = []

    def capture(self, now):
        """A frame at its time; where all slots are in use it is dropped here."""
        free = next((slot for slot in range(SLOTS) if slot not in self.busy), None)
        self.sent += 1
        if free is None:
            self.refused += 1
            return
        frame = legonet.Frame("YUYV", WIDTH, HEIGHT, region="frames", offset=free * FRAME, byte_size=FRAME,
                              filter="BILINEAR")
        self.busy.add(free)
        reply = self.client.submit(self.model, frames=[frame], outputs=[self.output], top=1, stream="camera")
        reply.add_done_callback(lambda done: self.finish(done, free, now))
        self.most = max(self.most, len(self.busy))

    def finish(self, reply, slot, captured):
        self.busy.discard(slot)
        error = reply.exception(0)
        if error is None:
            self.answered += 1
            self.ages.append(1000 * (time.monotonic() - captured))
        elif isinstance(error, legonet.errors.CancelledError):
            self.overtaken += 1
        elif isinstance(error, legonet.errors.ExhaustedError):
            self.refused += 1
        else:
            self.failed += 1
            print(error)


def queue_length(client):
    """Requests that wait or are computed now."""
    found = re.findall(r"^legonet_(?:model_)?queue_length(?:\{.*\})? ([0-9.]+)$", client.metrics(), re.M)
    return max(map(float, found))


def run(path, args):
    with legonet.Client(path) as watcher:
        model = watcher.models()[0].name
        output = watcher.model(model).outputs[0].name
        period = 1 / args.rate
        streams = [Stream(path, model, output, i, period) for i in range(args.streams)]
        poll = select.poll()
        by_fd = {stream.client.fileno(): stream for stream in streams}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        start = time.monotonic()
        due = [(start + period * i / args.streams) for i in range(args.streams)]
        end, seen, longest, late = start + args.seconds, start, 0, 0
        while (now := time.monotonic()) < end:
            for i, stream in enumerate(streams):
                if due[i] <= now:
                    late = max(late, now - due[i])
                    stream.capture(now)
                    due[i] += period
            for fd, _ in poll.poll(max(0, 1000 * (min(due) - time.monotonic()))):
                by_fd[fd].client.process()
            if now - seen >= 1:
                longest, seen = max(longest, queue_length(watcher)), now
        for stream in streams:
            while stream.client.pending:
                stream.client.wait_any(30)
    return streams, longest, late


def report(streams, longest, late, args):
    ages = sorted(age for stream in streams for age in stream.ages)
    total = {key: sum(getattr(s, key) for s in streams)
             for key in ("sent", "answered", "overtaken", "refused", "failed")}
    print(", ".join(f"{value} {key}" for key, value in total.items()))
    at = lambda q: ages[min(len(ages) - 1, int(q * len(ages)))]  # noqa: E731
    print(f"age of answers: median {at(.5):.1f} ms, p99 {at(.99):.1f}, largest {ages[-1]:.1f}; "
          f"two periods are {2000 / args.rate:.0f}")
    print(f"answers older than two periods: {sum(age > 2000 / args.rate for age in ages)}")
    print(f"answers a stream: {min(s.answered for s in streams)} to {max(s.answered for s in streams)}")
    print(f"most of a stream without an answer {max(s.most for s in streams)}, longest queue seen {longest:.0f}, "
          f"frames late by {1000 * late:.0f} ms at most")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--legonetd", required=True)
    parser.add_argument("--streams", type=int, default=30)
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--set", action="append", default=[], help="more for the agent, KEY=VALUE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(folder + "/models")
        os.symlink(os.path.realpath(args.model), folder + "/models/" + os.path.basename(args.model))
        path = folder + "/s"
        settings = [f"socket.path={path}", f"model_directory={folder}/models", "limits.region_memory=64MiB", *args.set]
        command = [args.legonetd] + [part for one in settings for part in ("--set", one)]
        with open(folder + "/log", "w", encoding="utf-8") as log:
            agent = subprocess.Popen(command, stderr=log)
        try:
            for _ in range(200):
                try:
                    with legonet.Client(path) as client:
                        if client.ready():
                            break
                except legonet.Error:
                    pass
                time.sleep(0.05)
            report(*run(path, args), args)
        finally:
            agent.terminate()
            agent.wait()


if __name__ == "__main__":
    main()
