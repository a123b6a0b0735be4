"""The public port: `granian --interface asgi runtime.gateway:app`.

    /-/…                     the control plane, handed on to the web process
    /<namespace>/<path>/…    functions
    /livez /healthz /readyz  probes
    /  /admin                redirects to the control plane

Not a Django request (docs/decisions/0004): no middleware, no query and no thread hop
until a function runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerverless_site.settings")
django.setup()

from django.conf import settings  # noqa: E402

from runtime import access, http_request, removal  # noqa: E402
from runtime.control_plane import ControlPlane  # noqa: E402
from runtime.errors import InvocationError, NoRoute  # noqa: E402
from runtime.exchange import ClientGone, Exchange, Receive, Scope, Send  # noqa: E402
from runtime.functions import Functions  # noqa: E402
from runtime.health import Readiness, live  # noqa: E402
from runtime.http_request import Target  # noqa: E402
from runtime.problem import Problem  # noqa: E402
from runtime.watch import Watch  # noqa: E402

log = logging.getLogger(__name__)

Endpoint = Callable[[Exchange], Coroutine[Any, Any, None]]
CLIENT_CLOSED = 499
_ROBOTS = b"User-agent: *\nDisallow: /-/\n"


class App:
    """The ASGI application. Made at import, started by the lifespan of its server."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.functions = Functions(self.watch)
        self._control_plane = ControlPlane(settings.WEB_SOCKET)
        readiness = Readiness(self.watch)
        self._probes: dict[bytes, Endpoint] = {}
        for name, endpoint in {
            b"/livez": live,
            b"/healthz": live,
            b"/readyz": readiness.answer,
        }.items():
            self._probes[name] = self._probes[name + b"/"] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(Exchange(scope, receive, send))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.to_thread(self._start)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self._stop)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> None:
        access.start()
        self.watch.start()
        self.functions.recorder.start()
        self.functions.pool.start()

    def _stop(self) -> None:
        """Requests have ended by now: the server waits for them first."""
        self.functions.drain()
        removal.drain()
        self.watch.stop()
        access.stop()

    async def _http(self, exchange: Exchange) -> None:
        if probe := self._probes.get(exchange.raw_path):
            await probe(exchange)
            return
        try:
            await self._dispatch(exchange)
        except InvocationError as error:
            await exchange.refuse(error)
        except ClientGone:
            exchange.status = exchange.status or CLIENT_CLOSED
        except Exception:  # the request's boundary: the next one goes on
            log.exception("request %s failed", exchange.request_id)
            if not exchange.status:
                await exchange.fail(Problem.unexpected())
        finally:
            exchange.log()

    async def _dispatch(self, exchange: Exchange) -> None:
        target = exchange.read_head()
        http_request.check_method(exchange.method)
        origin = http_request.origin(exchange.headers, exchange.peer, exchange.scheme)
        serves_functions, serves_control = _roles(origin.host)
        if target.segments[0] == "robots.txt":
            await exchange.answer(200, [("content-type", "text/plain")], _ROBOTS)
        elif target.raw_path.startswith("/-/") and serves_control:
            await self._control_plane.serve(exchange, target, origin)
        elif (place := _redirect(target)) and serves_control:
            await exchange.answer(302, [("location", place), ("content-length", "0")])
        elif serves_functions:
            # Reserved names end here as well: no namespace can be called like them.
            await self.functions.serve(exchange, target, origin)
        else:
            raise NoRoute("No function answers at this path.")


def _roles(host: str) -> tuple[bool, bool]:
    """Whether this host serves functions, and whether it serves the control plane."""
    functions_host = settings.ZERVERLESS_FUNCTIONS_HOST.lower()
    if not functions_host:
        return True, True
    is_functions_host = host.lower().rpartition(":")[0] == functions_host or (
        host.lower() == functions_host
    )
    return is_functions_host, not is_functions_host


def _redirect(target: Target) -> str:
    """Where a path of the control plane's that is not below /-/ leads, or ""."""
    if target.raw_path in {"/", "/-"}:
        return "/-/"
    if target.segments[0] == "admin":
        rest = target.raw_path.partition("/admin")[2].lstrip("/")
        return f"/-/admin/{rest}" + (f"?{target.query}" if target.query else "")
    return ""


app = App()
