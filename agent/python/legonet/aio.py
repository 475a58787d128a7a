"""The same client under asyncio: every call is to be awaited, any number at a time."""
import asyncio

from legonet import calls, errors
from legonet.client import Connection


class AsyncClient(Connection, calls.Calls):
    """Made and used within a running event loop, which it does not block.

    A call that is cancelled (asyncio's way) tells the agent, too. `timeout` is that of connecting, which is
    immediate; bound calls by asyncio.wait_for."""

    def __init__(self, *args, **kwargs):
        self._loop = asyncio.get_running_loop()
        self._watched = None
        super().__init__(*args, **kwargs)

    def _connect(self):
        super()._connect()
        self._watched = self._socket.fileno()
        self._loop.add_reader(self._watched, self._on_ready)

    def _break(self, error):
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._loop.remove_writer(self._watched)
            self._watched = None
        super()._break(error)

    def _on_ready(self):
        try:
            self.process()
        except errors.Error:  # whoever waits has it already
            return
        self._watch_writes()

    def _watch_writes(self):
        if self._watched is None:
            return
        if self._out:
            self._loop.add_writer(self._watched, self._on_ready)
        else:
            self._loop.remove_writer(self._watched)

    def _ask(self, call):
        future = self._loop.create_future()
        reply = self.submit_call(call)

        def finish(done):
            if future.done():
                return
            error = done.exception(0)
            if error:
                future.set_exception(error)
            else:
                future.set_result(done.result(0))

        def forget(done):
            if done.cancelled() and not reply.done() and self._watched is not None:
                reply.cancel()
                self._watch_writes()

        reply.add_done_callback(finish)
        future.add_done_callback(forget)
        self._watch_writes()
        return future

    def wait_for(self, reply, timeout=None):
        """For Reply's own use: under asyncio replies are complete when they are asked."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.close()
