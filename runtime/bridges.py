"""The way where no sandbox can be had: a network of ours, and the container's address.

Slower to start than a sandbox, and less apart: containers reach neither each other nor
the world, but they do reach what listens on the machine's own addresses.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from runtime import engine, removal, threads
from runtime.egress import EGRESS, NONE
from runtime.errors import ContainerEngineError, FunctionFailed
from runtime.ways import NotListening, WayLost

# Seconds. An attempt that is not answered may be asked of the wrong network.
_ATTEMPT = 1.0
_WHERE = " for others: there is no sandbox here, so 127.0.0.1 is not enough,"
_EAGER = 1.0  # so long it is tried every millisecond, then a little less often


def network_name(installation: str) -> str:
    """One for all gateways of an installation: an engine has room for thirty."""
    return f"zerverless-{installation}-functions"


class Bridges:
    """The functions' network of an installation; who runs the engine can reach it."""

    def __init__(self, owner: str) -> None:
        self._name = network_name(owner.partition("-")[0])

    async def open(self) -> None:
        """Ensure the network is there and can be reached; ContainerEngineError."""
        address = await threads.run(engine.ensure_network, self._name, internal=True)
        if not _is_ours(address):
            await self.stop()
            raise ContainerEngineError(
                "Server functions cannot be reached: Docker neither sees our directory "
                "(ZERVERLESS_DOORS_DIR) nor is it on this machine."
            )

    async def take(self, name: str, network: str = NONE) -> Bridge:
        if network == EGRESS:  # without a door there is no guard
            raise FunctionFailed(
                "There is no network: egress on this machine: it takes a sandbox, and "
                "the gateway's log says why there is none."
            )
        return Bridge(self._name, name)

    async def stop(self) -> None:
        """The network goes when no gateway's container is in it any more."""
        await threads.run(removal.drain)
        await threads.run(engine.remove_network, self._name)


@dataclass(eq=False)
class Bridge:
    """The way to one container in the network."""

    network: str
    container: str
    address: str = ""

    def when_lost(self, tell: Callable[[], None]) -> None:
        """It never is: a container that ends says so itself."""

    async def open(self, port: int, seconds: float) -> socket.socket:
        began = monotonic()
        address = await self._address()
        while True:
            try:
                async with asyncio.timeout(_ATTEMPT):
                    return await _connected(address, port)
            except (OSError, TimeoutError) as error:
                spent = monotonic() - began
                if spent >= seconds:
                    raise NotListening(_WHERE) from error
            await asyncio.sleep(0.001 if spent < _EAGER else 0.005)

    def discard(self) -> None:
        """Nothing is left of it."""

    async def _address(self) -> str:
        """Known once the container has been started, and the same from then on."""
        if not self.address:
            state = await threads.run(engine.state, self.container)
            if state is None or not state.address:
                raise WayLost("The container has no address.")
            self.address = state.address
        return self.address


def _is_ours(address: str) -> bool:
    """Whether an address is one of this machine's, where we are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


async def _connected(address: str, port: int) -> socket.socket:
    opening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opening.setblocking(False)
    try:
        opening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opening, (address, port))
    except BaseException:
        opening.close()
        raise
    return opening
