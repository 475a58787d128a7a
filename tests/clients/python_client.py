"""The Python client against a real agent: what is its own, beside what every client does (conformance.py)."""
import asyncio
import gc
import os
import select
import socket
import struct
import sys
import tempfile
import threading
import unittest

try:
    import google.protobuf  # noqa: F401
    import numpy
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import legonet
from legonet import errors, protocol, tensors

ONE = {"a": numpy.array([1, 2], "f4"), "b": numpy.array([10, 20], "f4"), "n": numpy.array([7], "i8")}
SLOW = {"x": numpy.full((64, 16), 0.25, "f4")}


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


class WithClient(unittest.TestCase):
    def setUp(self):
        self.before = descriptors()
        self.client = legonet.Client()

    def tearDown(self):
        self.client.close()
        self.client = None
        self.assertEqual(descriptors(), self.before)


class Blocking(WithClient):
    def test_arrays_of_any_layout_and_lists(self):
        columns = numpy.asfortranarray(numpy.arange(32, dtype="f4").reshape(2, 16))
        big_endian = columns.astype(">f4")
        plain = self.client.infer("tiny", {"x": columns.copy(order="C")})["y"]
        self.assertEqual(plain.shape, (2, 5))
        numpy.testing.assert_array_equal(self.client.infer("tiny", {"x": columns})["y"], plain)
        numpy.testing.assert_array_equal(self.client.infer("tiny", {"x": big_endian})["y"], plain)

    def test_raw_tensors(self):
        raw = dict(ONE, a=legonet.Tensor("FP32", (2,), struct.pack("<2f", 1, 2)))
        numpy.testing.assert_array_equal(self.client.infer("pair", raw)["sum"], [11, 22])

    def test_elements_that_the_protocol_lacks(self):
        with self.assertRaisesRegex(errors.DatatypeError, "complex64"):
            self.client.infer("pair", dict(ONE, a=numpy.zeros(2, "complex64")))

    def test_timeout_leaves_the_connection_good(self):
        self.client.timeout = 1e-4
        with self.assertRaisesRegex(errors.DeadlineError, "no answer in time"):
            self.client.infer("slow", SLOW)
        self.client.timeout = 60
        numpy.testing.assert_array_equal(self.client.infer("pair", ONE)["sum"], [11, 22])

    def test_reconnect(self):
        reply = self.client.submit("slow", SLOW)
        self.client.reconnect()
        self.assertIsInstance(reply.exception(), errors.ClosedError)
        self.assertTrue(self.client.live())
        self.client.close()
        with self.assertRaises(ConnectionError):
            self.client.live()

    def test_request_larger_than_a_frame(self):
        with legonet.Client(max_frame_bytes=1000) as small:
            with self.assertRaisesRegex(errors.LimitError, "larger than a frame"):
                small.infer("tiny", {"x": numpy.zeros((100, 16), "f4")})
            self.assertTrue(small.live())

    def test_paths(self):
        with self.assertRaises(errors.NotFoundError):
            legonet.Client("/nonexistent/socket")
        with self.assertRaises(errors.LimitError):
            legonet.Client("/x" * 200)
        with self.assertRaises(errors.IoError):
            legonet.Client(__file__ + "/x")


class Pipelined(WithClient):
    def test_poll_loop(self):
        order = []
        replies = [self.client.submit("tiny", {"x": numpy.full((1, 16), i, "f4")}) for i in range(200)]
        for reply in replies:
            reply.add_done_callback(lambda done: order.append(done.id))
        poll = select.poll()
        while self.client.pending:
            poll.register(self.client, self.client.events())
            self.assertTrue(poll.poll(60000))
            self.client.process()
        self.assertEqual(sorted(order), sorted(reply.id for reply in replies))
        for i, reply in enumerate(replies):
            expected = self.client.infer("tiny", {"x": numpy.full((1, 16), i, "f4")})["y"]
            numpy.testing.assert_array_equal(reply.result()["y"], expected)

    def test_large_requests_do_not_block_each_other(self):
        rows = numpy.zeros((4000, 16), "f4")
        replies = [self.client.submit("tiny", {"x": rows}) for _ in range(40)]
        for reply in replies:
            self.assertEqual(reply.result(60)["y"].shape, (4000, 5))

    def test_wait_any(self):
        with self.assertRaises(errors.StateError):
            self.client.wait_any()
        replies = [self.client.submit("tiny", {"x": numpy.zeros((1, 16), "f4")}) for _ in range(3)]
        self.client.wait_any(60)
        self.assertTrue(any(reply.done() for reply in replies))

    def test_max_pending(self):
        with legonet.Client(max_pending=2) as few:
            for _ in range(2):
                few.submit("slow", SLOW)
            with self.assertRaisesRegex(errors.ExhaustedError, "2 requests wait"):
                few.submit("slow", SLOW)

    def test_cancel(self):
        running, waiting = (self.client.submit("slow", SLOW) for _ in range(2))
        self.assertTrue(waiting.cancel())
        self.assertIsInstance(waiting.exception(60), errors.CancelledError)
        running.exception(60)
        self.assertFalse(running.cancel())


class Regions(WithClient):
    def test_views_share_memory(self):
        with self.client.region("r", 4096) as region:
            place = region.put(numpy.ones((1, 16), "f4"))
            out = region.tensor("FP32", (1, 5), offset=1024)
            first = self.client.infer("tiny", {"x": place}, outputs={"y": out})["y"]
            self.assertEqual(first.region, "r")
            shown = region.array(first)
            before = shown.copy()
            region.array(place)[:] = 2
            self.client.infer("tiny", {"x": place}, outputs={"y": out})
            self.assertFalse((shown == before).all())
            numpy.testing.assert_array_equal(
                shown, self.client.infer("tiny", {"x": numpy.full((1, 16), 2, "f4")})["y"])
            with self.assertRaisesRegex(errors.InvalidError, "outside of region 'r'"):
                region.tensor("FP32", (1, 5), offset=4090)
            del shown

    def test_descriptors_behind_a_full_socket(self):
        rows = numpy.zeros((4000, 16), "f4")
        replies = [self.client.submit("tiny", {"x": rows}) for _ in range(8)]
        with self.client.region("late", 4096) as region:
            self.assertEqual([r.name for r in self.client.regions()], ["late"])
            place = region.put(numpy.ones((1, 16), "f4"))
            self.assertEqual(self.client.infer("tiny", {"x": place})["y"].shape, (1, 5))
        for reply in replies:
            reply.result(60)


class Asyncio(unittest.TestCase):
    def test_many_at_once(self):
        async def main():
            async with legonet.AsyncClient() as client:
                results = await asyncio.gather(*(client.infer("pair", ONE) for _ in range(50)))
                for result in results:
                    numpy.testing.assert_array_equal(result["sum"], [11, 22])
                with self.assertRaises(errors.NotFoundError):
                    await client.model("nobody")
                region = await client.region("r", 4096)
                place = region.put(numpy.ones((1, 16), "f4"))
                self.assertEqual((await client.infer("tiny", {"x": place}))["y"].shape, (1, 5))
                region.close()
        asyncio.run(main())

    def test_cancelled_task_tells_the_agent(self):
        async def main():
            async with legonet.AsyncClient() as client:
                running = client.infer("slow", SLOW)
                waiting = [client.infer("slow", SLOW) for _ in range(4)]
                await asyncio.sleep(0)
                for future in waiting:
                    future.cancel()
                await asyncio.gather(running, *waiting, return_exceptions=True)
                while client.pending:
                    await client.live()
                statistics = (await client.statistics("slow"))[0]
                self.assertGreaterEqual(statistics.response_stats["0"].cancel.count, 1)
        asyncio.run(main())


class Hostile(unittest.TestCase):
    """An agent that answers nonsense: an error each, and no endless wait."""

    def answer(self, data, **options):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = folder.name + "/s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()

        def serve():
            peer, _ = listener.accept()
            peer.recv(65536)
            peer.sendall(data)
            peer.close()
            listener.close()

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return legonet.Client(path, timeout=60, **options)

    @staticmethod
    def frame(**fields):
        body = protocol.Response(**fields).SerializeToString()
        return struct.pack("<I", len(body)) + body

    def test_answers(self):
        metadata = protocol.Response(id=1)
        metadata.server_metadata.name = "other"
        wrong_call = metadata.SerializeToString()
        cases = [
            (b"", errors.ClosedError, "closed the connection"),
            (b"\x00\x00\x00\x00", errors.FormatError, "empty frame"),
            (b"\xff\xff\xff\xff", errors.LimitError, "4294967295"),
            (b"\x03\x00\x00\x00\xff\xff\xff", errors.FormatError, "cannot be read"),
            (b"\x80\x00\x00\x00\x01", errors.ClosedError, "closed the connection"),
            (self.frame(id=99), errors.FormatError, "was not asked"),
            (struct.pack("<I", len(wrong_call)) + wrong_call, errors.FormatError, "was not asked"),
            (self.frame(id=0, status=6, message="not you"), errors.PermissionDeniedError, "not you"),
            (self.frame(id=1, status=4, message="none"), errors.NotFoundError, "none"),
            (self.frame(id=1, status=4000, message="new"), errors.InternalError, "new"),
        ]
        for data, kind, text in cases:
            with self.subTest(text=text, data=data), self.answer(data) as client:
                with self.assertRaisesRegex(kind, text):
                    client.live()

    def test_tensors(self):
        def response(change):
            answer = protocol.Response(id=1)
            output = answer.model_infer.outputs.add(name="y", datatype="FP32", shape=[2])
            answer.model_infer.raw_output_contents.append(bytes(8))
            change(answer.model_infer, output)
            body = answer.SerializeToString()
            return struct.pack("<I", len(body)) + body

        def set_fields(**fields):
            return lambda infer, output: [setattr(output, k, v) for k, v in fields.items()]

        def set_shape(*shape):
            return lambda infer, output: output.shape.__setitem__(slice(None), shape)

        def set_raw(*raw):
            return lambda infer, output: infer.raw_output_contents.__setitem__(slice(None), raw)

        changes = [set_fields(datatype="COMPLEX"), set_shape(3), set_shape(-1, 1 << 62), set_raw(),
                   set_raw(bytes(7)), set_fields(datatype="BYTES"),
                   lambda infer, output: (set_fields(datatype="BYTES")(infer, output),
                                          set_raw(b"\xff\xff\xff\xff")(infer, output)),
                   lambda infer, output: output.parameters["shared_memory_region"].SetInParent()]
        for i, change in enumerate(changes):
            with self.subTest(i=i), self.answer(response(change)) as client:
                with self.assertRaises(errors.FormatError):
                    client.infer("m", {})


class Pure(unittest.TestCase):
    def test_every_status_has_a_class(self):
        self.assertEqual(set(protocol.STATUS_NAMES.values()) - {"OK"}, set(errors.BY_STATUS))

    def test_every_datatype_round_trips(self):
        for name, dtype in tensors.DTYPES.items():
            array = numpy.array([[0, 1], [1, 0]], dtype)
            tensor = tensors.encode(array)
            self.assertEqual((tensor.datatype, tensor.shape), (name, (2, 2)))
            numpy.testing.assert_array_equal(tensors.decode(name, (2, 2), tensor.data), array)

    def test_bf16_is_widened(self):
        raw = struct.pack("<3H", 0x3F80, 0xC000, 0x7F80)
        numpy.testing.assert_array_equal(tensors.decode("BF16", (3,), raw), [1, -2, numpy.inf])


if __name__ == "__main__":
    unittest.main()
