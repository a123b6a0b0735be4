"""Reads the outputs of a program whose end is marked in them, not by their closing.

Waiting for a container's streams to close costs 35 ms after the program has ended. A
launcher that outlives the program prints a mark on both outputs instead: a secret of
this one request, so that a program cannot end its own answer early by accident.
"""

from __future__ import annotations

import socket

from runtime.pump import STDERR_TAIL, Pump

STARTED = b"s"


class MarkedPump(Pump):
    """A Pump that ends at `mark`; `started` once the program itself was begun."""

    def __init__(
        self,
        output: socket.socket,
        feed: socket.socket,
        body: bytes,
        max_output: int,
        mark: bytes,
    ) -> None:
        super().__init__(output, feed, body, max_output)
        self._mark = mark
        self._tail = b""  # the end of stdout that may be the beginning of the mark
        self._stdout_done = False
        self._last = b""  # standard error from the mark on, or its possible beginning
        self.started = False

    def _take(self, stream: int, data: bytes) -> None:
        if stream != self._STDERR:
            self._take_stdout(data)
        else:
            self._take_stderr(data)
        self._ended = self._stdout_done and self.exit_code is not None

    def _take_stdout(self, data: bytes) -> None:
        if self._stdout_done:
            return  # a process the program left behind still talks
        data = self._tail + data
        found = data.find(self._mark)
        self._stdout_done = found >= 0
        keep = found if found >= 0 else max(0, len(data) - len(self._mark) + 1)
        self._tail = b"" if self._stdout_done else data[keep:]
        super()._take(1, data[:keep])

    def _take_stderr(self, data: bytes) -> None:
        if not self.started and data.startswith(STARTED):
            self.started, data = True, data[1:]
        data = self._last + data
        found = data.find(self._mark)
        if found < 0:
            keep = max(0, len(data) - len(self._mark) + 1)
            self._last = data[keep:]
            super()._take(self._STDERR, data[:keep])
            return
        super()._take(self._STDERR, data[:found])
        self._last = data[found:]
        code, newline, _ = self._last[len(self._mark) :].partition(b"\n")
        if newline and code.isdigit():
            self.exit_code = int(code)

    def _finish(self) -> None:
        """The streams closed without a mark: what was held back is output after all."""
        if not self._stdout_done:
            super()._take(1, self._tail)
        if self.exit_code is None:
            super()._take(self._STDERR, self._last[-STDERR_TAIL:])
        self._tail = self._last = b""
