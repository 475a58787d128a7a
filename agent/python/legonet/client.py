"""The connection and the blocking client."""
import array
import collections
import errno
import os
import select
import socket
import time

from legonet import calls, errors, protocol

DEFAULT_SOCKET = "/run/legonet/legonet.sock"
_RECEIVE_BYTES = 1 << 18
_CONNECT_WAIT = 0.01


class Reply:
    """An answer that has been asked for. It comes by Client.process(), or by waiting for it here."""

    def __init__(self, client, request_id, call):
        self.id = request_id
        self._client = client
        self._kind = call.request.WhichOneof("call")
        self._convert = call.convert
        self._done = False
        self._value = self._error = None
        self._callbacks = []

    def done(self):
        return self._done

    def result(self, timeout=None):
        """The value; raises what the agent refused, DeadlineError where no answer came in `timeout` seconds."""
        error = self.exception(timeout)
        if error:
            raise error
        return self._value

    def exception(self, timeout=None):
        """The error, None for a success; waits as result()."""
        self._client.wait_for(self, timeout)
        return self._error

    def cancel(self):
        """Tells the agent that the answer is not wanted any more; False where it has come already.

        The reply still completes: with CancelledError, or as always where the answer was under way."""
        if not self._done:
            self._client.submit_call(calls.cancel(self.id))
        return not self._done

    def add_done_callback(self, callback):
        """Calls callback(reply) when the answer is there, at once where it is."""
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def complete(self, value=None, error=None):
        """For the connection's own use."""
        self._done, self._value, self._error = True, value, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def take(self, response):
        """For the connection's own use: completes by an answer; FormatError where it fits no such call."""
        status = protocol.STATUS_NAMES.get(response.status, "E_INTERNAL")
        if status != "OK":
            self.complete(error=errors.from_status(status, response.message))
            return
        if response.WhichOneof("result") != self._kind:
            error = errors.FormatError("the agent answers what was not asked")
            self.complete(error=error)
            raise error
        try:
            self.complete(self._convert(response))
        except errors.Error as error:
            self.complete(error=error)


class Connection:
    """Frames out, frames in, which reply an answer is for. One thread at a time uses it.

    A connection that breaks stays broken: all that wait get ClosedError, until reconnect()."""

    def __init__(self, path=None, timeout=30.0, max_frame_bytes=protocol.MAX_FRAME_BYTES,
                 max_pending=1024):
        self.path = path or os.environ.get("LEGONET_SOCKET") or DEFAULT_SOCKET
        self.timeout = timeout
        self._max_frame_bytes = max_frame_bytes
        self._max_pending = max_pending
        self._last_id = 0
        self._socket = None
        self._pending = {}
        self._out = collections.deque()  # [memoryview, descriptors]
        self._reader = None
        self._connect()

    # ---- connecting ----

    def _connect(self):
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while True:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                sock.connect(self.path)
                break
            except OSError as error:
                sock.close()
                if error.errno != errno.EAGAIN:  # the backlog is full, which cannot be polled for
                    raise self._connect_error(error) from error
            if deadline is not None and time.monotonic() >= deadline:
                raise errors.DeadlineError(f"{self.path}: the agent does not accept")
            time.sleep(_CONNECT_WAIT)
        self._socket = sock
        self._reader = protocol.FrameReader(self._max_frame_bytes)

    def _connect_error(self, error):
        known = {errno.ENOENT: errors.NotFoundError, errno.ECONNREFUSED: errors.UnavailableError,
                 errno.EACCES: errors.PermissionDeniedError, None: errors.LimitError}
        kind = known.get(error.errno, errors.IoError)
        return kind(f"{self.path}: {error.strerror or error}")

    def reconnect(self):
        """Connects again to the same path; what waits completes with ClosedError, regions are gone."""
        self._break(errors.ClosedError(f"{self.path}: the connection was given up for a new one"))
        self._connect()

    def close(self):
        """Closes; what waits completes with ClosedError."""
        self._break(errors.ClosedError(f"{self.path}: closed"))

    def _break(self, error):
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        while self._out:
            self._drop_out()
        pending, self._pending = self._pending, {}
        for reply in pending.values():
            reply.complete(error=errors.from_status(error.status, str(error)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _check_open(self):
        if self._socket is None:
            raise errors.ClosedError(f"{self.path}: disconnected")

    # ---- for poll ----

    def fileno(self):
        """For select, poll and epoll; it changes with reconnect()."""
        self._check_open()
        return self._socket.fileno()

    def events(self):
        """What to poll for: select.POLLIN, with select.POLLOUT while something waits to be sent."""
        return select.POLLIN | (select.POLLOUT if self._out else 0)

    @property
    def pending(self):
        """Requests without an answer."""
        return len(self._pending)

    def process(self):
        """Sends and receives what is possible without blocking; raises where the connection broke."""
        self._check_open()
        try:
            self._receive()
            self._send()
        except (OSError, errors.Error) as error:
            self._fail(error)

    def _fail(self, error):
        if not isinstance(error, errors.Error):
            kind = errors.IoError
            if error.errno in (errno.EPIPE, errno.ECONNRESET):
                kind = errors.ClosedError
            error = kind(f"{self.path}: {error.strerror}")
        self._break(error)
        raise error

    # ---- out ----

    def submit_call(self, call):
        """Queues a request, sends what the socket takes, and returns its Reply."""
        self._check_open()
        if len(self._pending) >= self._max_pending:
            raise errors.ExhaustedError(f"{self._max_pending} requests wait for answers already")
        call.request.id = self._last_id + 1
        frame = protocol.pack(call.request, self._max_frame_bytes)
        self._last_id += 1
        reply = Reply(self, self._last_id, call)
        self._pending[reply.id] = reply
        self._out.append([memoryview(frame), [os.dup(fd) for fd in call.fds]])
        try:
            self._send()
        except OSError:
            # The agent may have said why before it closed: whoever reads next learns it.
            pass
        return reply

    def _drop_out(self):
        for fd in self._out.popleft()[1]:
            os.close(fd)

    def _send(self):
        while self._out:
            data, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._socket.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            while fds:
                os.close(fds.pop())
            self._out[0][0] = data[sent:]
            if sent == len(data):
                self._drop_out()

    # ---- in ----

    def _receive(self):
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            if not data:
                raise errors.ClosedError(f"{self.path}: the agent closed the connection")
            self._reader.feed(data)
            self._take_frames()

    def _take_frames(self):
        while (response := self._reader.next()) is not None:
            reply = self._pending.pop(response.id, None)
            if reply is not None:
                reply.take(response)
            elif response.id == 0 and response.status:
                status = protocol.STATUS_NAMES.get(response.status, "E_INTERNAL")
                raise errors.from_status(status, f"{self.path}: the agent says: {response.message}")
            else:
                raise errors.FormatError(f"{self.path}: the agent answers what was not asked")


class Client(Connection, calls.Calls):
    """Blocks for each call; submit() does not. One thread at a time uses a client.

    path         the agent's socket; None: the environment's LEGONET_SOCKET, else DEFAULT_SOCKET
    timeout      seconds for connecting and for each blocking call; None: for ever
    max_pending  requests without an answer at a time
    """

    def _ask(self, call):
        return self.submit_call(call).result(self.timeout)

    def submit(self, model, inputs=None, **options):
        """Queues an inference (see infer) and returns its Reply without waiting."""
        return self.submit_call(calls.infer(model, inputs, **options))

    def wait_for(self, reply, timeout=None):
        """Processes until the reply is complete; DeadlineError after `timeout` seconds (None: never)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not reply.done():
            self._step(deadline)

    def wait_any(self, timeout=None):
        """Processes until any request completes; StateError where none waits."""
        if not self._pending:
            raise errors.StateError("no request waits for an answer")
        deadline = None if timeout is None else time.monotonic() + timeout
        before = set(self._pending)
        while before <= set(self._pending):
            self._step(deadline)

    def _step(self, deadline):
        self._check_open()
        poll = select.poll()
        poll.register(self._socket, self.events())
        left = None if deadline is None else max(0, round((deadline - time.monotonic()) * 1000))
        if not poll.poll(left):
            raise errors.DeadlineError(f"{self.path}: no answer in time")
        try:
            self.process()
        except errors.Error:
            pass  # the connection broke: all that waited are complete, with the reason
