"""How much the gateway takes on at once: requests, and bytes of bodies in memory.

There is no queue: what does not fit is refused at once with 429 and Retry-After. The
last quarter of all slots is only for functions below an even share of them, so that a
few busy functions cannot lock out the rest.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import TooManyRequests

_FUNCTION_BUSY = "This function is handling as many requests as it may at once."
_PLATFORM_BUSY = "The platform is handling as many requests as it may at once."


class Limits:
    """Slots for running requests, all functions together and each for itself."""

    def __init__(self, total: int, per_function: int) -> None:
        self._total = total
        self._per_function = per_function
        self._reserved = total // 4
        self._running: Counter[int] = Counter()
        self._used = 0
        # The Django view runs in threads; the gateway's loop never waits here.
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Requests running now."""
        return self._used

    def check(self, function_id: int, limit: int | None = None) -> None:
        """Raise TooManyRequests if a request would be refused right now."""
        mine = self._running[function_id]
        if mine >= (limit or self._per_function):
            raise TooManyRequests(_FUNCTION_BUSY)
        if self._used >= self._total or self._takes_more_than_its_share(mine):
            raise TooManyRequests(_PLATFORM_BUSY)

    def _takes_more_than_its_share(self, mine: int) -> bool:
        if self._used < self._total - self._reserved:
            return False
        active = len(self._running) + (0 if mine else 1)
        return mine >= max(1, self._total // active)

    @contextmanager
    def slot(self, function_id: int, limit: int | None = None) -> Iterator[None]:
        """Hold a slot for the length of the block; raises TooManyRequests."""
        with self._lock:
            self.check(function_id, limit)
            self._running[function_id] += 1
            self._used += 1
        try:
            yield
        finally:
            with self._lock:
                self._used -= 1
                self._running[function_id] -= 1
                if not self._running[function_id]:
                    del self._running[function_id]


class BodyBudget:
    """Bytes of request bodies in memory, over all connections.

    Bodies are read before a slot is taken, so that slow uploads hold no slot; this
    bounds what they may hold instead.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0

    def take(self, size: int) -> None:
        """Raises TooManyRequests when the bytes do not fit."""
        if self.used + size > self._most:
            raise TooManyRequests(_PLATFORM_BUSY)
        self.used += size

    def give_back(self, size: int) -> None:
        self.used -= size
