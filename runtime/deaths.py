"""Tells when a container ends by itself: one stream of the engine's events for all.

A thread reads the stream; what happens is told on the event loop. When the engine was
away, events may be missing, so every container that is watched is looked at once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from runtime import engine
from runtime.errors import ContainerEngineError, Unavailable

Told = Callable[[int], None]

_AGAIN = 1.0  # seconds until an engine that went away is asked again

log = logging.getLogger(__name__)


class Deaths:
    """Watches containers that carry a label, `name=value`."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._watched: dict[str, Told] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()

    def watch(self, name: str, told: Told) -> None:
        """Have `told` called with the exit code when the container ends."""
        self._watched[name] = told
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            # It may block in the engine's stream for days: never waited for.
            threading.Thread(target=self._run, name="deaths", daemon=True).start()

    def forget(self, name: str) -> None:
        """Watch it no longer."""
        self._watched.pop(name, None)

    def stop(self) -> None:
        """Tell nobody any more."""
        self._stopping.set()
        self._watched.clear()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look()
                for name, code in engine.deaths(self._label):
                    self._tell(name, code)
                    if self._stopping.is_set():
                        return
            except (ContainerEngineError, Unavailable) as error:
                log.warning("no news of containers: %s", error)
            self._stopping.wait(_AGAIN)

    def _look(self) -> None:
        for name in list(self._watched):
            state = engine.state(name)
            if state is None or (state.exit_code and not state.is_running):
                self._tell(name, 255 if state is None else state.exit_code)

    def _tell(self, name: str, code: int) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told, name, code)

    def _told(self, name: str, code: int) -> None:
        told = self._watched.pop(name, None)
        if told is not None:
            told(code)
