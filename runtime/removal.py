"""Removes finished containers behind the answer, and never loses one on shutdown.

Removing takes the engine 10 to 100 ms that no client should wait for. When removals
cannot keep up they are done in the request after all, so that containers never pile up.
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
_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork
_pending: set[Future[None]] = set()


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
    """Wait up to `timeout` seconds until nothing is left to remove."""
    with _lock:
        waiting = set(_pending)
    return not wait(waiting, timeout).not_done


def _submit(remove: Callable[[str], None], name: str) -> None:
    future = _pool().submit(_remove, remove, name)
    _pending.add(future)
    future.add_done_callback(_pending.discard)


def _pool() -> ThreadPoolExecutor:
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pending.clear()
        _pools[pid] = ThreadPoolExecutor(_THREADS, thread_name_prefix="removal")
    return _pools[pid]


def _remove(remove: Callable[[str], None], name: str) -> None:
    try:
        remove(name)
    except (ContainerEngineError, Unavailable):
        # The reaper finds it by its name once the engine is back.
        logger.warning("container %s could not be removed", name, exc_info=True)
