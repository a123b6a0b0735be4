"""One running container of a server function, from its start to its end.

All of it belongs to the gateway's event loop; what the engine is asked runs in threads.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from django.conf import settings

from runtime import command, engine, failure, recipe, removal, threads
from runtime.container import phase
from runtime.deaths import LABEL, Deaths
from runtime.errors import ContainerEngineError, FunctionFailed
from runtime.facts import Image
from runtime.idle import IdleConnections
from runtime.models import InstanceState
from runtime.route import Route
from runtime.ways import NotListening, Way, Ways

if TYPE_CHECKING:
    from runtime.fleet import Fleet

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LOG_LINES = 100
_LOG_MAX = 64 * 1024
# A connection to a port that listens takes no time, but a full queue does.
_CONNECT_SECONDS = 2.0
# The connection that proved it ready waits so long to be used: servers close one on
# which nothing comes.
_FIRST_SECONDS = 1.0
# A connection that breaks so soon after a process was killed for memory was its.
_STARVED_SECONDS = 2.0

log = logging.getLogger(__name__)


class Instance:
    """A container and the way into it. `on_exit` is called when it ends by itself."""

    fleet: Fleet

    def __init__(
        self, route: Route, name: str, way: Way, deaths: Deaths, image: Image
    ) -> None:
        self.route = route
        self.name = name
        self.state = InstanceState.STARTING
        self.idle = IdleConnections()
        self.in_flight = self.silent = 0
        self.last_used = self.ready_at = monotonic()
        self.started_at = time()
        self.cold_ms: float | None = None
        self.phases: dict[str, float] = {}  # of its start, in milliseconds
        self.on_exit: Callable[[Instance, FunctionFailed], None] = _ignore
        self._way = way
        self._deaths = deaths
        self._image = image
        self._first: socket.socket | None = None
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._telling: asyncio.Task[FunctionFailed] | None = None
        self._is_started = self._is_frozen = self._ending = False
        self._starved_at = float("-inf")

    @classmethod
    async def start(
        cls, route: Route, owner: str, ways: Ways, deaths: Deaths
    ) -> Instance:
        """An instance whose port takes connections.

        Raises FunctionFailed (it crashed, or does not listen; `reason` is for its
        owner's eyes), ImageMissing and ContainerEngineError.
        """
        phases: dict[str, float] = {}
        image = await threads.run(recipe.runnable, route.image_id)
        name = recipe.name(owner, f"server{secrets.token_hex(6)}")
        with phase(phases, "way"):
            way = await ways.take(name, route.config.network)
        instance = cls(route, name, way, deaths, image)
        instance.phases = phases
        try:
            await instance._start(_config(route, image, way.network, owner))
        except BaseException:
            instance._discard()
            raise
        return instance

    async def _start(self, config: dict[str, Any]) -> None:
        with phase(self.phases, "create"):
            await threads.run_or_undo(
                partial(engine.create, self.name, config),
                partial(engine.remove, self.name),
            )
        self._deaths.watch(self.name, self._has_exited, self._has_starved)
        self._way.when_lost(self._has_lost_way)
        with phase(self.phases, "start"):
            await threads.run(engine.start, self.name)
        with phase(self.phases, "ready"):
            await self._listen()
        self._is_started = True

    async def connect(self) -> socket.socket:
        """A new connection to its port; FunctionFailed where it takes none."""
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            opened = await self._open(_CONNECT_SECONDS)
        except NotListening as error:
            raise FunctionFailed("The function takes no connection.") from error
        except ContainerEngineError as error:
            raise FunctionFailed("The function has ended.") from error
        if opened is None:
            raise FunctionFailed("The function has ended.")
        return opened

    async def pause(self) -> None:
        """Freeze it; raises ContainerEngineError."""
        self._close_connections()
        self._is_frozen = True
        await threads.run(engine.pause, self.name)

    async def resume(self) -> None:
        """Let it go on; raises ContainerEngineError."""
        await threads.run(engine.resume, self.name)
        self._is_frozen = False

    async def stop(self, grace: float = GRACE) -> None:
        """SIGTERM, a grace, then its end and that of its way; ContainerEngineError."""
        self._ending = True
        self._close_connections()
        if not self._exited.done() and await self._is_thawed():
            await threads.run(engine.kill, self.name, "SIGTERM")
            await asyncio.wait([self._exited], timeout=grace)
        self._deaths.forget(self.name)
        await threads.run(engine.remove, self.name)
        self._way.discard()

    async def why_ended(self, seconds: float) -> FunctionFailed | None:
        """Why it ended by itself, or does within `seconds`, or one of its processes was
        killed for memory; None where it goes on, or was ended by us. For who saw a
        connection break: the engine's word comes later.
        """
        if self._telling is None and not self._ending:
            await asyncio.wait([self._exited], timeout=seconds)
        if self._telling is not None:
            return await asyncio.shield(self._telling)
        if monotonic() - self._starved_at < _STARVED_SECONDS:
            return failure.out_of_memory(self.route.config.memory)
        return None

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

    # -- getting ready ----------------------------------------------------------------

    async def _listen(self) -> None:
        """Return when the port takes a connection; the first one is kept."""
        patience = settings.ZERVERLESS_COLD_START_TIMEOUT
        try:
            first = await self._open(patience)
        except NotListening as error:
            raise await self._deaf(str(error), patience) from None
        if first is None:
            raise await self._failure(self._exited.result())
        self._keep_first(first)

    async def _open(self, seconds: float) -> socket.socket | None:
        """A connection to the port; None where the container ends first.

        Raises NotListening and ContainerEngineError.
        """
        opening = asyncio.ensure_future(self._way.open(self._port, seconds))
        either: set[asyncio.Future[Any]] = {opening, self._exited}
        try:
            await asyncio.wait(either, return_when="FIRST_COMPLETED")
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise
        finally:
            if not opening.done():
                opening.cancel()
        if not self._exited.done():
            return opening.result()
        opening.add_done_callback(_close_opened)
        return None

    def _keep_first(self, connection: socket.socket) -> None:
        self._first = connection
        loop = asyncio.get_running_loop()
        loop.call_later(_FIRST_SECONDS, self._close_first)

    def _close_first(self) -> None:
        if self._first is not None:
            self._first.close()
            self._first = None

    def _close_connections(self) -> None:
        self.idle.close()
        self._close_first()

    def _discard(self) -> None:
        """Undo a start that failed."""
        self._ending = True
        self._deaths.forget(self.name)
        self._close_first()
        removal.later(engine.remove, self.name)
        self._way.discard()

    # -- the end ----------------------------------------------------------------------

    def _has_exited(self, code: int) -> None:
        if not self._exited.done():
            self._exited.set_result(code)
        self._tell(self._failure(code))

    def _has_starved(self) -> None:
        self._starved_at = monotonic()

    def _has_lost_way(self) -> None:
        self._tell(_lost())

    def _tell(self, why: Coroutine[Any, Any, FunctionFailed]) -> None:
        """Say once that it is no use any more, unless we wanted it so."""
        if self._ending or not self._is_started:
            why.close()
            return
        self._ending = True
        self._close_connections()
        self._telling = asyncio.get_running_loop().create_task(self._report(why))

    async def _report(self, why: Coroutine[Any, Any, FunctionFailed]) -> FunctionFailed:
        error = await why
        log.warning("%s of %s: %s", self.name, self.route.path, error)
        self.on_exit(self, error)
        return error

    async def _failure(self, code: int) -> FunctionFailed:
        """Why it ended, with the last of what it said."""
        when = (
            "" if self._is_started else f" before it listened on $PORT ({self._port})"
        )
        try:
            was_oom = await threads.run(engine.was_oom, self.name, code)
            said = await self._last_words()
        except ContainerEngineError:
            was_oom, said = False, b""
        if was_oom:
            error: FunctionFailed = failure.out_of_memory(self.route.config.memory)
        else:
            user, network = self._image.user, self.route.config.network
            found = await self._of_command(code, said)
            why = failure.explain(code, said, user, when, network, found)
            error = FunctionFailed(why)
        error.reason = failure.clean(said)
        return error

    async def _of_command(self, code: int, said: bytes) -> str:
        """What is wrong with the file of its command, if that may be why it ended."""
        if self._is_started or not failure.is_command_in_doubt(code, said):
            return ""
        return await threads.run(command.problem, self._image, f"{self.name}-look")

    async def _deaf(self, where: str, patience: float) -> FunctionFailed:
        """It lives, but does not listen."""
        error = FunctionFailed(
            f"The function did not listen on $PORT ({self._port}){where} "
            f"within {patience:g} s."
        )
        error.reason = failure.clean(await self._last_words())
        return error

    async def _last_words(self) -> bytes:
        said = await threads.run(engine.logs, self.name, LOG_LINES, times=False)
        return said[-_LOG_MAX:]


def _config(route: Route, image: Image, network: str, owner: str) -> dict[str, Any]:
    config = recipe.config(route, image, _environment(route))
    config["Labels"][LABEL] = owner
    config["AttachStdout"] = config["AttachStderr"] = False
    # The network is the way's; so is the name of a host it shares.
    del config["NetworkDisabled"]
    if network.startswith("container:"):
        del config["Hostname"]
    config["HostConfig"] |= {
        "NetworkMode": network,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": "1m", "max-file": "1"},
        },
    }
    return config


def _environment(route: Route) -> dict[str, str]:
    """The variables of docs/functions.md."""
    service = f"{route.namespace}{route.path}".strip("/").replace("/", "-")
    return {
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


def _close_opened(opening: asyncio.Future[socket.socket]) -> None:
    """Close a connection that came too late for whoever wanted it."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def _lost() -> FunctionFailed:
    return FunctionFailed("The function's sandbox has ended.")


def _ignore(_instance: Instance, _error: FunctionFailed) -> None:
    """Nobody wants to know."""
