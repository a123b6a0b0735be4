"""The public port: `python -m runtime.gateway`.

    /-/…                     the control plane, handed on to the web process
    /<namespace>/<path>/…    functions
    /livez /healthz /readyz  probes
    /  /admin                redirects to the control plane

On the host name of one namespace alone every path is its functions' (hosts.py).

Not a Django request (docs/decisions/0004): no middleware, no query and no thread hop
until a function runs.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import django
import uvloop

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerverless_site.settings")
django.setup()

from django.conf import settings  # noqa: E402

from runtime import access, http_request, removal  # noqa: E402
from runtime.control_plane import ControlPlane  # noqa: E402
from runtime.errors import InvocationError, NoRoute  # noqa: E402
from runtime.exchange import CLIENT_CLOSED, ClientGone, Exchange  # noqa: E402
from runtime.functions import Functions  # noqa: E402
from runtime.health import Readiness, live  # noqa: E402
from runtime.hosts import role_of  # noqa: E402
from runtime.http_request import Target  # noqa: E402
from runtime.http_server import Server  # noqa: E402
from runtime.metrics import Metrics  # noqa: E402
from runtime.origin import asked_host, origin_of  # noqa: E402
from runtime.problem import Problem  # noqa: E402
from runtime.watch import Watch  # noqa: E402

log = logging.getLogger(__name__)

Endpoint = Callable[[Exchange], Coroutine[Any, Any, None]]
STOP_SECONDS = 8.0
# A thread that computes gives the interpreter back this often: the event loop waits
# for it no longer. The default of 5 ms would be the slowest requests' whole latency.
SWITCH_SECONDS = 0.0005
# Descriptors, as zerverless_site/supervisor.py passes them on.
LISTENING = [int(n) for n in os.environ.get("ZERVERLESS_LISTENING", "").split(",") if n]
_ROBOTS = b"User-agent: *\nDisallow: /-/\n"


class Gateway:
    """Answers requests: one for each process."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.functions = Functions(self.watch)
        self.server = Server(self.handle, self._tick)
        self._control_plane = ControlPlane(settings.WEB_SOCKET)
        self._tasks: set[asyncio.Task[None]] = set()
        self._metrics = Metrics(self.functions.traffic, lambda: self.watch.table)
        readiness = Readiness(self.watch)
        self._probes: dict[bytes, Endpoint] = {}
        for name, endpoint in {
            b"/livez": live,
            b"/healthz": live,
            b"/readyz": readiness.answer,
            b"/metrics": self._metrics.answer,
        }.items():
            self._probes[name] = self._probes[name + b"/"] = endpoint

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises OSError where the port is taken."""
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        access.start()
        await self.functions.start()
        await self._metrics.start()
        await asyncio.to_thread(self.watch.start)
        await self._listen()
        await stopping.wait()
        await self.server.stop(STOP_SECONDS)
        self._metrics.stop()
        await self.functions.stop()
        await asyncio.to_thread(removal.drain)
        self.watch.stop()
        access.stop()

    async def _listen(self) -> None:
        """On the sockets our supervisor keeps for us, else on our own."""
        if LISTENING:
            await self.server.adopt(LISTENING)
            return
        await self.server.start(
            settings.ZERVERLESS_BIND,
            settings.ZERVERLESS_PORT,
            shared=settings.ZERVERLESS_GATEWAYS > 1,
        )

    def _tick(self, now: float) -> None:
        self.functions.servers.proxy.tick(now)
        self._control_plane.tick(now)

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, at once where nothing has to be waited for."""
        try:
            if exchange.refusal is None and self.functions.serve_now(exchange):
                return
        except InvocationError as error:
            exchange.request_id = http_request.request_id(
                exchange.raw_headers, exchange.id
            )
            exchange.refuse(error)
            exchange.log()
            return
        task = asyncio.get_running_loop().create_task(self._http(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _http(self, exchange: Exchange) -> None:
        probe = self._probes.get(exchange.raw_path)
        if probe and exchange.refusal is None and not _is_of_a_namespace(exchange):
            await probe(exchange)
            return
        try:
            if await self._dispatch(exchange):
                return
        except InvocationError as error:
            exchange.refuse(error)
        except ClientGone:
            exchange.status = exchange.status or CLIENT_CLOSED
        except Exception:  # the request's boundary: the next one goes on
            log.exception("request %s failed", exchange.request_id)
            if exchange.status:
                exchange.abort()
            else:
                exchange.fail(Problem.unexpected())
        exchange.log()

    async def _dispatch(self, exchange: Exchange) -> bool:
        """Answer; True where a relay does, and will say so in the log."""
        target = exchange.read_head()
        http_request.check_method(exchange.method)
        origin = origin_of(exchange.headers, exchange.peer, exchange.scheme)
        role = role_of(origin.host)
        if role.namespace is not None:
            return await self.functions.serve(exchange, target, origin)
        if target.segments[0] == "robots.txt":
            await exchange.answer(200, [("content-type", "text/plain")], _ROBOTS)
        elif target.raw_path.startswith("/-/") and role.control:
            await self._control_plane.serve(exchange, target, origin)
            return True
        elif (place := _redirect(target)) and role.control:
            await exchange.answer(302, [("location", place), ("content-length", "0")])
        elif role.functions:
            # Reserved names end here as well: no namespace can be called like them.
            return await self.functions.serve(exchange, target, origin)
        else:
            raise NoRoute("No function answers at this path.")
        return False


def _is_of_a_namespace(exchange: Exchange) -> bool:
    """Whether it came to a host name whose every path belongs to one namespace."""
    host = asked_host(exchange.raw_headers, exchange.peer)
    return role_of(host).namespace is not None


def _redirect(target: Target) -> str:
    """Where a path of the control plane's that is not below /-/ leads, or ""."""
    if target.raw_path in {"/", "/-"}:
        return "/-/"
    if target.segments[0] == "admin":
        rest = target.raw_path.partition("/admin")[2].lstrip("/")
        return f"/-/admin/{rest}" + (f"?{target.query}" if target.query else "")
    return ""


async def _serve() -> None:
    await Gateway().run()


def _rest_the_collector() -> None:
    """A request leaves no cycles behind: reference counts free all of it. Looking for
    some after every few hundred objects took a quarter of the interpreter's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def main() -> int:
    """Run a gateway; 1 where its port cannot be had."""
    sys.setswitchinterval(SWITCH_SECONDS)
    _rest_the_collector()
    try:
        uvloop.run(_serve())
    except OSError as error:
        log.critical("the gateway cannot listen: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
