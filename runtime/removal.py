"""Removes finished containers behind the answer, and never loses one.

Removing takes the engine 10 to 100 ms that no client should wait for. When removals
cannot keep up they are done in the request after all, so that containers never pile up.
What the engine could not remove, because it was away, is tried again until it is gone:
whoever cleans up behind dead gateways leaves the containers of a living one alone.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from runtime.errors import ContainerEngineError, Unavailable

logger = logging.getLogger(__name__)

_THREADS = 2
_BACKLOG = 64
AGAIN = 5.0  # seconds until what could not be removed is tried again
_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork
_pending: set[Future[None]] = set()
_failed: dict[str, Callable[[str], None]] = {}  # what could not be removed yet


def soon(remove: Callable[[str], None], name: str) -> None:
    """Have `remove(name)` called on another thread, or here when many are waiting."""
    with _lock:
        if len(_pending) < _BACKLOG:
            _submit(remove, name)
            return
    _remove(remove, name)


def later(remove: Callable[[str], None], name: str) -> None:
    """The same, never here: for an event loop, which must not wait."""
    with _lock:
        _submit(remove, name)


def drain(timeout: float = 30) -> bool:
    """Wait up to `timeout` seconds for what is being removed; whether all is gone."""
    _try_again()
    with _lock:
        waiting = set(_pending)
    return not wait(waiting, timeout).not_done and not _failed


def _submit(remove: Callable[[str], None], name: str) -> None:
    future = _pool().submit(_remove, remove, name)
    _pending.add(future)
    future.add_done_callback(_pending.discard)


def _pool() -> ThreadPoolExecutor:
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pending.clear()
        _failed.clear()
        _pools[pid] = ThreadPoolExecutor(_THREADS, thread_name_prefix="removal")
    return _pools[pid]


def _remove(remove: Callable[[str], None], name: str) -> None:
    try:
        remove(name)
    except (ContainerEngineError, Unavailable) as error:
        logger.warning("container %s could not be removed yet: %s", name, error)
        with _lock:
            if not _failed:
                timer = threading.Timer(AGAIN, _try_again)
                timer.daemon = True
                timer.start()
            _failed[name] = remove


def _try_again() -> None:
    with _lock:
        failed = dict(_failed)
        _failed.clear()
        for name, remove in failed.items():
            _submit(remove, name)
