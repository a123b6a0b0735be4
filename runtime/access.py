"""The access log: one line a request, written together by a thread.

A line is put into words where the request ends, because a thread that did it later
would take the interpreter from the event loop for milliseconds at a time. The thread
only joins and writes them, every `INTERVAL` seconds.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted

from django.conf import settings

from applications.redact import redact

INTERVAL = 0.2
WAITING_MAX = 20_000
_LEVELS = {"debug", "info"}

# Bounded: when nobody reads our log the oldest lines go, and not the memory.
_waiting: deque[str] = deque(maxlen=WAITING_MAX)
_stopping = threading.Event()
_threads: list[threading.Thread] = []
_is_text = [False]  # read once: a look into Django's settings costs a microsecond


def put(
    method: str,
    raw_path: bytes,
    request_id: str,
    status: int,
    seconds: float,
    size: int,
    notes: str,
) -> None:
    """Queue a line; `notes` are further JSON members, each after a comma."""
    if not _threads:
        return
    now = int(time.time() * 1000)
    if _is_text[0]:
        _waiting.append(_text(now, method, raw_path, status))
        return
    _waiting.append(
        f"{_begun(now)}{_request(method, raw_path)}, "
        f'"status": {status}, "request_id": "{request_id}", '
        f'"duration_ms": {seconds * 1000:.3f}, "response_bytes": {size}{notes}}}\n'
    )


def members(facts: dict[str, str]) -> str:
    """Facts as JSON members for `put`."""
    return "".join(f", {quoted(name)}: {quoted(text)}" for name, text in facts.items())


def _text(now: int, method: str, raw_path: bytes, status: int) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(now / 1000))
    path = redact(raw_path.decode("latin-1"))
    return f"{clock} INFO    zerverless.access  {method} {path} {status}\n"


@lru_cache(maxsize=4)
def _begun(now: int) -> str:
    """Every line begins so in this millisecond."""
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now / 1000))
    return (
        f'{{"time": "{clock}.{now % 1000:03}Z", '
        '"level": "INFO", "logger": "zerverless.access", '
    )


@lru_cache(maxsize=1024)
def _request(method: str, raw_path: bytes) -> str:
    path = redact(raw_path.decode("latin-1"))
    message = json.dumps(f"{method} {path}")
    return (
        f'"message": {message}, "event": "request", '
        f'"method": "{method}", "path": {quoted(path)}'
    )


def start() -> None:
    """Begin to write, unless the log level leaves access lines out."""
    if settings.ZERVERLESS_LOG_LEVEL.lower() not in _LEVELS:
        return
    _is_text[0] = settings.LOGS_ARE_TEXT
    _stopping.clear()
    thread = threading.Thread(target=_run, name="access", daemon=True)
    _threads.append(thread)
    thread.start()


def stop() -> None:
    """Write what is left and end the thread."""
    _stopping.set()
    while _threads:
        _threads.pop().join(2)


def _run() -> None:
    while not _stopping.wait(INTERVAL):
        _write()
    _write()


def _write() -> None:
    lines = [_waiting.popleft() for _ in range(len(_waiting))]
    if lines:
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
