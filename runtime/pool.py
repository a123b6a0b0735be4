"""Keeps a few primed containers for functions that are being called, none for others.

How many follows the traffic of the last seconds, between none and
ZERVERLESS_PRIMED_MAX for each function, within ZERVERLESS_PRIMED_MEMORY for all. One
thread makes them, so that making never takes more than its share of the engine. What a
request has to wait for comes first, some at a time: more only make each other slow.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from django.conf import settings

from applications.errors import ZerverlessError
from runtime.errors import Unavailable
from runtime.primed import Primed
from runtime.route import Route

WINDOW = 10.0  # seconds of traffic that decide how many are kept
REFILL = 0.5  # seconds until a used one is replaced, with room for a slow engine
_TICK = 1.0
_BACKOFF = 5.0  # seconds without trying after the engine failed
_PROCESSORS = os.cpu_count() or 1
_AT_ONCE = 2 * _PROCESSORS  # made at the same time for requests that wait for them

log = logging.getLogger(__name__)


@dataclass
class Shelf:
    """The primed containers of one deployment, and who asked for it lately."""

    route: Route
    ready: deque[Primed] = field(default_factory=deque)
    asked: deque[float] = field(default_factory=lambda: deque(maxlen=512))
    blocked_until: float = 0.0

    def wanted(self, now: float) -> int:
        """How many should be ready now."""
        if not self.asked or now - self.asked[-1] > settings.ZERVERLESS_PRIMED_KEEP:
            return 0
        lately = sum(1 for at in self.asked if now - at <= WINDOW)
        enough = 1 + math.ceil(lately / WINDOW * REFILL)
        return min(enough, settings.ZERVERLESS_PRIMED_MAX)


class Pool:
    """Primed containers by deployment; `make` creates one for a route, `live` says
    which deployments there are now."""

    def __init__(
        self, make: Callable[[Route], Primed], live: Callable[[], Collection[int]]
    ) -> None:
        self._make = make
        self._live = live
        self._shelves: dict[int, Shelf] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._making = 0  # for requests that wait
        self._has_made = False
        self._thread = threading.Thread(target=self._run, name="pool", daemon=True)

    def start(self) -> None:
        if settings.ZERVERLESS_PRIMED_MAX > 0:
            self._thread.start()

    def stop(self) -> None:
        """End the thread and discard everything that waits."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(60)
        for shelf in self._shelves.values():
            _discard(shelf.ready)

    def take(self, route: Route) -> Primed | None:
        """A primed container of exactly this deployment, or None; never waits."""
        with self._changed:
            if not self._is_running():
                return None
            shelf = self._shelf(route)
            shelf.asked.append(time.monotonic())
            if not shelf.ready:
                return None  # one is to be made now, and the others after it
            self._changed.notify_all()
            return shelf.ready.popleft()

    def make(self, route: Route) -> Primed | None:
        """A container made for a request that waits; None where none can be primed.

        Raises Unavailable where too many others are waiting.
        """
        with self._changed:
            if not self._is_running():
                return None
            if not self._has_made:
                # The first one takes longer: the launcher's volume comes with it.
                self._changed.notify_all()
                return None
            if not self._changed.wait_for(
                lambda: self._shelf(route).ready or self._making < _AT_ONCE,
                settings.ZERVERLESS_COLD_START_TIMEOUT,
            ):
                raise Unavailable("Too many functions are starting. Try again soon.")
            shelf = self._shelf(route)
            if shelf.ready:
                return shelf.ready.popleft()
            if time.monotonic() < shelf.blocked_until:
                return None
            self._making += 1
        try:
            return self._try(shelf)
        finally:
            with self._changed:
                self._making -= 1
                self._changed.notify_all()

    def drop(self, route: Route) -> None:
        """Discard a deployment's: one of them was found dead."""
        with self._changed:
            shelf = self._shelves.get(route.deployment_id)
            if shelf:
                shelf.blocked_until = time.monotonic() + _BACKOFF
                _discard(shelf.ready)

    def count(self) -> int:
        """How many are ready. No __len__: an empty pool is a pool all the same."""
        with self._changed:
            return sum(len(shelf.ready) for shelf in self._shelves.values())

    def _is_running(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    def _shelf(self, route: Route) -> Shelf:
        return self._shelves.setdefault(route.deployment_id, Shelf(route))

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                self._shrink(time.monotonic())
                shelf = self._next(time.monotonic())
                if shelf is None:
                    self._changed.wait(_TICK)
                    continue
            self._fill(shelf)

    def _shrink(self, now: float) -> None:
        """Give up what nobody calls any more, one at a time; forget empty shelves."""
        live = self._live()
        for key, shelf in list(self._shelves.items()):
            if key not in live:
                shelf.asked.clear()
                _discard(shelf.ready)
            wanted = shelf.wanted(now)
            # One more than wanted may stay: traffic that wavers must not start and
            # discard containers all the time.
            if len(shelf.ready) > (wanted + 1 if wanted else 0):
                shelf.ready.popleft().discard()
            if not wanted and not shelf.ready:
                del self._shelves[key]

    def _next(self, now: float) -> Shelf | None:
        """The shelf that lacks most, if memory allows one more on it."""
        if self._making >= _PROCESSORS:
            return None
        lacking = [
            (shelf.wanted(now) - len(shelf.ready), key)
            for key, shelf in self._shelves.items()
            if shelf.wanted(now) > len(shelf.ready) and now >= shelf.blocked_until
        ]
        if not lacking:
            return None
        shelf = self._shelves[max(lacking)[1]]
        used = sum(s.route.config.memory * len(s.ready) for s in self._shelves.values())
        fits = used + shelf.route.config.memory <= settings.ZERVERLESS_PRIMED_MEMORY
        return shelf if fits else None

    def _try(self, shelf: Shelf) -> Primed | None:
        """A new one; None where it fails, and the next attempt has to wait."""
        try:
            return self._make(shelf.route)
        except ZerverlessError as error:
            log.warning("cannot prime %s: %s", shelf.route.path, error.message)
            shelf.blocked_until = time.monotonic() + _BACKOFF
            return None

    def _fill(self, shelf: Shelf) -> None:
        primed = self._try(shelf)
        if primed is None:
            return
        with self._changed:
            self._has_made = True
            known = self._shelves.get(shelf.route.deployment_id) is shelf
            if known and not self._stopping:
                shelf.ready.append(primed)
                self._changed.notify_all()
                return
        primed.discard()


def _discard(ready: deque[Primed]) -> None:
    with suppress(IndexError):
        while True:
            ready.popleft().discard()
