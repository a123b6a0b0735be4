"""One running container of a server function, from its start to its end.

All of it belongs to the gateway's event loop; what the engine is asked runs in threads.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from django.conf import settings

from runtime import engine, recipe, removal
from runtime.deaths import Deaths
from runtime.doors import DoorLost, NotListening
from runtime.errors import ContainerEngineError, FunctionFailed, OutOfMemory
from runtime.idle import IdleConnections
from runtime.models import InstanceState
from runtime.route import Route
from runtime.sandboxes import Sandbox, Sandboxes

if TYPE_CHECKING:
    from runtime.fleet import Fleet

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LABEL = "zerverless.gateway"
LOG_LINES = 100
# A connection to a port that listens takes no time; a frozen machine may.
_CONNECT_SECONDS = 5.0

log = logging.getLogger(__name__)


class Instance:
    """A container and the way into it. `on_exit` is called when it ends by itself."""

    fleet: Fleet

    def __init__(
        self, route: Route, name: str, sandbox: Sandbox, deaths: Deaths
    ) -> None:
        self.route = route
        self.name = name
        self.state = InstanceState.STARTING
        self.idle = IdleConnections()
        self.in_flight = self.silent = 0
        self.last_used = self.ready_at = monotonic()
        self.started_at = time()
        self.cold_ms: float | None = None
        self.on_exit: Callable[[Instance, FunctionFailed], None] = _ignore
        self._sandbox = sandbox
        self._deaths = deaths
        self._first: socket.socket | None = None
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ending = self._is_frozen = False

    @classmethod
    async def start(
        cls, route: Route, owner: str, sandboxes: Sandboxes, deaths: Deaths
    ) -> Instance:
        """An instance whose port takes connections.

        Raises FunctionFailed (it crashed, or does not listen; `reason` is for its
        owner's eyes), ImageMissing and ContainerEngineError.
        """
        image = await asyncio.to_thread(recipe.runnable, route.image_id)
        sandbox = await sandboxes.take()
        name = recipe.name(owner, f"server{secrets.token_hex(6)}")
        instance = cls(route, name, sandbox, deaths)
        config = _config(route, image, sandbox.name, owner)
        try:
            await asyncio.to_thread(engine.create, name, config)
            deaths.watch(name, instance._has_exited)
            sandbox.door.on_lost = instance._door_lost
            await asyncio.to_thread(engine.start, name)
            await instance._listen()
        except BaseException:
            deaths.forget(name)
            instance._discard()
            raise
        return instance

    async def connect(self) -> socket.socket:
        """A new connection to its port; FunctionFailed where it takes none."""
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            return await self._sandbox.door.open(self._port, _CONNECT_SECONDS)
        except NotListening as error:
            raise FunctionFailed("The function takes no connection.") from error
        except DoorLost as error:
            raise FunctionFailed("The function's sandbox has ended.") from error

    async def pause(self) -> None:
        """Freeze it; raises ContainerEngineError."""
        self.idle.close()
        self._is_frozen = True
        await asyncio.to_thread(engine.pause, self.name)

    async def resume(self) -> None:
        """Let it go on; raises ContainerEngineError."""
        await asyncio.to_thread(engine.resume, self.name)
        self._is_frozen = False

    async def stop(self, grace: float = GRACE) -> None:
        """SIGTERM, a grace, then its end and its sandbox's."""
        self._ending = True
        self.idle.close()
        if not self._exited.done() and await self._is_thawed():
            await asyncio.to_thread(engine.kill, self.name, "SIGTERM")
            await asyncio.wait([self._exited], timeout=grace)
        self._deaths.forget(self.name)
        await asyncio.to_thread(engine.remove, self.name)
        self._close_first()
        self._sandbox.discard()

    async def _is_thawed(self) -> bool:
        """Whether it can hear a signal, thawed for it if need be."""
        if self._is_frozen:
            try:
                await self.resume()
            except ContainerEngineError:
                return False  # it never could be paused, or is gone; the end tells
        return True

    @property
    def _port(self) -> int:
        assert self.route.config.port is not None
        return self.route.config.port

    async def _listen(self) -> None:
        """Return when the port takes a connection; the first one is kept."""
        patience = settings.ZERVERLESS_COLD_START_TIMEOUT
        opening = asyncio.ensure_future(self._sandbox.door.open(self._port, patience))
        first: set[asyncio.Future[Any]] = {opening, self._exited}
        try:
            await asyncio.wait(first, return_when="FIRST_COMPLETED")
            if self._exited.done():
                raise await self._failure(self._exited.result())
            self._first = opening.result()
        except NotListening:
            text = (
                f"The function did not listen on $PORT ({self._port}) in {patience} s."
            )
            raise await self._with_logs(FunctionFailed(text)) from None
        finally:
            if not opening.done():
                opening.cancel()
            elif self._first is None and not opening.exception():
                opening.result().close()

    async def _failure(self, code: int) -> FunctionFailed:
        """Why it ended, with the last of what it said."""
        found = await asyncio.to_thread(engine.state, self.name)
        if found is not None and found.was_oom:
            return await self._with_logs(
                OutOfMemory("The function ran out of memory while it started.")
            )
        text = f"The function ended with exit code {code} before it listened on $PORT"
        return await self._with_logs(FunctionFailed(f"{text} ({self._port})."))

    async def _with_logs(self, error: FunctionFailed) -> FunctionFailed:
        said = await asyncio.to_thread(engine.logs, self.name, LOG_LINES)
        error.reason = said.decode("utf-8", "replace")
        return error

    def _has_exited(self, code: int) -> None:
        if not self._exited.done():
            self._exited.set_result(code)
        self._died(f"It ended with exit code {code}.")

    def _door_lost(self) -> None:
        self._died("Its sandbox has ended.")

    def _died(self, reason: str) -> None:
        if self._ending:
            return
        if self.state is not InstanceState.STARTING:
            self._ending = True
            log.warning("%s of %s: %s", self.name, self.route.path, reason)
            self.on_exit(self, FunctionFailed(f"The function has crashed. {reason}"))

    def _discard(self) -> None:
        """Undo a start that failed."""
        self._ending = True
        self._close_first()
        removal.soon(engine.remove, self.name)
        self._sandbox.discard()

    def _close_first(self) -> None:
        if self._first is not None:
            self._first.close()
            self._first = None


def _config(
    route: Route, image: engine.Image, sandbox: str, owner: str
) -> dict[str, Any]:
    service = f"{route.namespace}{route.path}".strip("/").replace("/", "-")
    environment = {
        **recipe.own(route),
        "PORT": str(route.config.port),
        "K_SERVICE": service,
        "K_CONFIGURATION": service,
        "K_REVISION": f"v{route.number}",
        "ZERVERLESS_NAMESPACE": route.namespace,
        "ZERVERLESS_FUNCTION": route.path,
        "ZERVERLESS_DEPLOYMENT": str(route.number),
        "ZERVERLESS_COMMIT": route.commit,
    }
    config = recipe.config(route, image, environment)
    config["Labels"][LABEL] = owner
    # The sandbox's, with its /etc/hosts and its host name.
    del config["NetworkDisabled"], config["Hostname"]
    config["AttachStdout"] = config["AttachStderr"] = False
    config["HostConfig"] |= {
        "NetworkMode": f"container:{sandbox}",
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": "1m", "max-file": "1"},
        },
    }
    return config


def _ignore(_instance: Instance, _error: FunctionFailed) -> None:
    """Nobody wants to know."""
