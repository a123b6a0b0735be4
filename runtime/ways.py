"""Ways to a server function: the network its container is in, and connections into it.

The one that is meant is a sandbox (runtime/sandboxes.py); where none can be had it is a
bridge (runtime/bridges.py).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from runtime.errors import ContainerEngineError


class WayLost(ContainerEngineError):
    """There are no connections to be had this way any more."""


class NotListening(Exception):
    """Nothing takes connections on the port."""


class Way(Protocol):
    """The way into one container."""

    @property
    def network(self) -> str:
        """The container's `NetworkMode`."""

    def when_lost(self, tell: Callable[[], None]) -> None:
        """Have `tell` called, once, when the way is lost."""

    async def open(self, port: int, seconds: float) -> socket.socket:
        """A connection to the port, as soon as it takes one.

        Raises NotListening after `seconds`, WayLost and ContainerEngineError.
        """

    def discard(self) -> None:
        """Have it removed; the container has to be gone before."""


class Ways(Protocol):
    """Where ways come from."""

    async def take(self, name: str, network: str = "none") -> Way:
        """A way for the container that will have this name, and may reach what the
        manifest's `network` says.

        Raises ContainerEngineError, and FunctionFailed where that cannot be had.
        """

    async def stop(self) -> None:
        """Discard what waits to be taken."""
