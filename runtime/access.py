"""Access lines leave the event loop as they are; a thread formats and writes them.

It looks for new ones every `INTERVAL` seconds instead of being woken for each: a thread
that wakes at every request takes the interpreter from the event loop every time.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

INTERVAL = 0.2
WAITING_MAX = 20_000

_log = logging.getLogger("zerverless.access")


class Lines(logging.Handler):
    """Keeps records until its thread hands them to the root logger's handlers."""

    def __init__(self) -> None:
        super().__init__()
        # Bounded: when nobody reads our log the oldest lines go, and not the memory.
        self._waiting: deque[logging.LogRecord] = deque(maxlen=WAITING_MAX)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)

    def stop(self) -> None:
        """Write what is left and end the thread."""
        self._stopping.set()
        self._thread.join(2)

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            self._write()
        self._write()

    def _write(self) -> None:
        while self._waiting:
            logging.getLogger().handle(self._waiting.popleft())


_lines: list[Lines] = []


def start() -> None:
    """Have "zerverless.access" written by a thread."""
    lines = Lines()
    _lines.append(lines)
    _log.addHandler(lines)
    _log.propagate = False


def stop() -> None:
    """Write what is left and go back to writing at once."""
    _log.propagate = True
    while _lines:
        lines = _lines.pop()
        _log.removeHandler(lines)
        lines.stop()
