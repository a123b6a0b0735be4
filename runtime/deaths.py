"""Tells when a container ends by itself: one stream of the engine's events for all.

A thread reads the stream; what happens is told on the event loop. Whenever the stream
begins anew, events may be missing, so every container that is watched is looked at.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from time import time

from runtime import engine
from runtime.errors import ContainerEngineError, Unavailable

Told = Callable[[int], None]
ToldOfMemory = Callable[[], None]

LABEL = "zerverless.gateway"
_AGAIN = 1.0  # seconds until an engine that went away is asked again
# Seconds: the engine answers a moment before it listens for us.
_OVERLAP = 5.0

log = logging.getLogger(__name__)


class Deaths:
    """Watches containers that carry LABEL with the name of their owner."""

    def __init__(self, owner: str) -> None:
        self._label = f"{LABEL}={owner}"
        self._watched: dict[str, Told] = {}
        self._starved: dict[str, ToldOfMemory] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends: engine.Ends | None = None
        self._is_failing = False
        self._stopping = threading.Event()

    def watch(self, name: str, told: Told, starved: ToldOfMemory | None = None) -> None:
        """Have `told` called with the exit code when the container ends, and `starved`
        whenever one of its processes is killed for memory.

        Before it is started: what has ended already is found out much later.
        """
        self._watched[name] = told
        if starved is not None:
            self._starved[name] = starved
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            # It may be blocked in a call to the engine: never waited for.
            threading.Thread(target=self._run, name="deaths", daemon=True).start()

    def forget(self, name: str) -> None:
        """Watch it no longer."""
        self._watched.pop(name, None)
        self._starved.pop(name, None)

    def stop(self) -> None:
        """Tell nobody any more."""
        self._stopping.set()
        self._watched.clear()
        self._starved.clear()
        if self._ends is not None:
            self._ends.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except (ContainerEngineError, Unavailable) as error:
                if not self._is_failing:  # once, not every second
                    log.warning("no news of containers: %s", error)
                self._is_failing = True
            self._stopping.wait(_AGAIN)

    def _read(self) -> None:
        self._ends = engine.Ends(self._label, time() - _OVERLAP)
        if self._stopping.is_set():
            self._ends.close()
        self._look()
        self._is_failing = False
        for name, code in self._ends:
            self._tell(name, code)

    def _look(self) -> None:
        for name in list(self._watched):
            state = engine.state(name)
            if state is not None and state.has_ended:
                self._tell(name, state.exit_code)

    def _tell(self, name: str, code: int | None) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._told, name, code)

    def _told(self, name: str, code: int | None) -> None:
        starved, told = self._starved.get(name), self._watched.get(name)
        if code is None:
            if starved is not None:
                starved()
        elif told is not None:
            self.forget(name)
            told(code)
