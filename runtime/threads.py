"""The engine's calls block: they run in threads of their own, off the event loop.

Not in asyncio's own threads, of which two cores get six: as many starts at once would
make a frozen instance wait to be thawed.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 16
_pools: dict[int, ThreadPoolExecutor] = {}  # by process: threads do not survive a fork


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns or raises. Who is cancelled leaves it running."""
    return await _submit(lambda: function(*args, **kwargs))


async def run_or_undo(function: Callable[[], T], undo: Callable[[], object]) -> T:
    """The same; `undo` is called if by its end nobody waits for it any more.

    One cancelled at the very end has to undo it himself: it must be harmless twice.
    """
    left = threading.Event()

    def work() -> T:
        result = function()
        if left.is_set():
            undo()
        return result

    try:
        return await _submit(work)
    except asyncio.CancelledError:
        left.set()
        raise


async def _submit(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_pool(), work)


def _pool() -> ThreadPoolExecutor:
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pools[pid] = ThreadPoolExecutor(_THREADS, thread_name_prefix="engine")
    return _pools[pid]
