"""Sandboxes that wait, so that a start does not have to."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from applications.errors import ZerverlessError

if TYPE_CHECKING:
    from runtime.sandboxes import Sandbox

# The start that one was taken for comes first: beside it another takes as long again.
_REST_SECONDS = 0.5
_AGAIN_SECONDS = 5.0

log = logging.getLogger(__name__)


class Ahead:
    """Those of one kind, `most` of them once `refill` was called."""

    def __init__(
        self, start: Callable[[], Coroutine[Any, Any, Sandbox]], most: int
    ) -> None:
        self._start = start
        self._most = most
        self._waiting: deque[Sandbox] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._is_stopped = False

    def take(self) -> Sandbox | None:
        """One of them, if there is one."""
        return self._waiting.popleft() if self._waiting else None

    def put(self, sandbox: Sandbox) -> None:
        """Let it wait here."""
        if self._is_stopped or sandbox.door.is_lost:
            sandbox.discard()
            return
        self._waiting.append(sandbox)
        sandbox.when_lost(partial(self._lost, sandbox))

    def _lost(self, sandbox: Sandbox) -> None:
        """One that waited has ended; another takes its place."""
        if sandbox in self._waiting:
            self._waiting.remove(sandbox)
            sandbox.discard()
            self.refill()

    def refill(self) -> None:
        """Start what is missing, in the background and one after the other."""
        lacks = len(self._waiting) < self._most and not self._is_stopped
        if lacks and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        await asyncio.sleep(_REST_SECONDS)
        has_failed = False
        while len(self._waiting) < self._most:
            try:
                self.put(await self._start())
            except ZerverlessError as error:
                if not has_failed:  # once, not every few seconds
                    log.warning("no sandbox is started ahead: %s", error)
                has_failed = True
                await asyncio.sleep(_AGAIN_SECONDS)

    async def stop(self) -> None:
        """Discard them."""
        self._is_stopped = True
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait([self._filling])
        while self._waiting:
            self._waiting.popleft().discard()
