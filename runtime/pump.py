"""Moves bytes between one container and us: the body in, its two outputs out.

Full duplex on one thread: a function that never reads its input, or that writes before
it reads, must not stop us from reading its output (a pipe holds 64 KiB, then blocks).
The output is Docker's multiplexed stream: frames of an 8-byte header (stream number,
three zero bytes, big-endian length) and the payload (Engine API, "Attach to a
container", stream format).
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

STDERR_TAIL = 8 * 1024
_HEADER = struct.Struct(">BxxxL")
_RECEIVE = 256 * 1024
_SEND = 64 * 1024
# How long a cancelled request may go unnoticed, in seconds.
_TICK = 0.05
# Standard error beyond this is read slowly, so that a function that logs without end
# slows itself down and not the gateway: 256 KiB every 20 ms at most.
_FREE_STDERR = 8 * 1024 * 1024
_SLOWLY = 0.02


class Stopped(Enum):
    """Why the pump stopped."""

    END = "end"
    DEADLINE = "deadline"
    TOO_LARGE = "too large"
    CANCELLED = "cancelled"


class Pump:
    """`feed` takes the body; `output` gives the frames; both may be one socket.

    The write half of `feed` is shut at the end of the body. TLS has no half-close (the
    shutdown ends its reading too), so there `feed` must be a socket of its own.
    """

    HEADER = 8  # bytes before the payload of a frame
    _STDERR = 2

    def __init__(
        self,
        output: socket.socket,
        feed: socket.socket | None,
        body: bytes,
        max_output: int,
    ) -> None:
        self._output, self._input = output, feed
        self._body = memoryview(body)
        self._max_output = max_output
        self._frames = bytearray()
        self._stdout: list[bytes] = []
        self._stdout_size = 0
        self._stderr_size = 0
        self._stderr_tail = bytearray()
        self._ended = False
        self.exit_code: int | None = None  # where the stream itself tells it
        output.setblocking(False)
        if feed is not None:
            feed.setblocking(False)

    @property
    def stdout(self) -> bytes:
        return b"".join(self._stdout)

    @property
    def stderr(self) -> bytes:
        """The last part of standard error, at most STDERR_TAIL bytes."""
        return bytes(self._stderr_tail)

    @property
    def stderr_cut(self) -> bool:
        return self._stderr_size > STDERR_TAIL

    def run(self, until: float, cancelled: Callable[[], bool]) -> Stopped:
        """Move bytes until both outputs end or, by the monotonic clock, `until`."""
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            while not self._ended:
                left = until - time.monotonic()
                if left <= 0:
                    return Stopped.DEADLINE
                if cancelled():
                    return Stopped.CANCELLED
                self._step(selector, min(left, _TICK))
                if self._stdout_size > self._max_output:
                    return Stopped.TOO_LARGE
        return Stopped.END

    def discard_stdout(self) -> None:
        """From now on only standard error is of interest: the answer is decided."""
        self._stdout, self._stdout_size, self._max_output = [], 0, 1 << 62

    def _register(self, selector: selectors.BaseSelector) -> None:
        if self._input is self._output:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            selector.register(self._output, both)
            return
        selector.register(self._output, selectors.EVENT_READ)
        if self._input is not None:
            selector.register(self._input, selectors.EVENT_WRITE)

    def _step(self, selector: selectors.BaseSelector, timeout: float) -> None:
        # TLS decrypts a whole record at once: what is left of it is not seen by select.
        pending = isinstance(self._output, ssl.SSLSocket) and self._output.pending() > 0
        ready = selector.select(0 if pending else timeout)
        if any(mask & selectors.EVENT_WRITE for _, mask in ready):
            self._send(selector)
        if pending or any(mask & selectors.EVENT_READ for _, mask in ready):
            self._receive()

    def _send(self, selector: selectors.BaseSelector) -> None:
        assert self._input is not None
        try:
            sent = self._input.send(self._body[:_SEND])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError:
            # The function closed its input or ended: it has read all it wants.
            sent = len(self._body)
        self._body = self._body[sent:]
        if self._body:
            return
        selector.unregister(self._input)
        if self._input is self._output:
            selector.register(self._output, selectors.EVENT_READ)
        with suppress(OSError):  # the container may be gone already
            self._input.shutdown(socket.SHUT_WR)
        self._input = None

    def _receive(self) -> None:
        try:
            data = self._output.recv(_RECEIVE)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        if not data:
            self._finish()
            self._ended = True
            return
        self._frames += data
        self._take_frames()
        if self._stderr_size > _FREE_STDERR:
            time.sleep(_SLOWLY)

    def _take_frames(self) -> None:
        while len(self._frames) >= _HEADER.size:
            stream, size = _HEADER.unpack_from(self._frames)
            end = _HEADER.size + size
            if len(self._frames) < end:
                return
            self._take(stream, bytes(self._frames[_HEADER.size : end]))
            del self._frames[:end]

    def _finish(self) -> None:
        """Both outputs are closed."""

    def _take(self, stream: int, data: bytes) -> None:
        if stream != self._STDERR:
            self._stdout_size += len(data)
            if self._stdout_size <= self._max_output:
                self._stdout.append(data)
            return
        self._stderr_size += len(data)
        self._stderr_tail += data
        del self._stderr_tail[:-STDERR_TAIL]
