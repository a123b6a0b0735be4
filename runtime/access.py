"""Access lines leave the event loop through a queue and are written by a thread."""

from __future__ import annotations

import logging
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

_log = logging.getLogger("zerverless.access")
_lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
_handler = QueueHandler(_lines)
_listener: list[QueueListener] = []


def start() -> None:
    """Have "zerverless.access" written by a thread, with the root logger's handlers."""
    _log.addHandler(_handler)
    _log.propagate = False
    listener = QueueListener(_lines, *logging.getLogger().handlers)
    listener.start()
    _listener.append(listener)


def stop() -> None:
    """Write what is left and go back to writing at once."""
    _log.removeHandler(_handler)
    _log.propagate = True
    while _listener:
        _listener.pop().stop()
