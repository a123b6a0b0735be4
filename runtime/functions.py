"""Serving functions: the route, the way that kind of function is served, the counts."""

from __future__ import annotations

import asyncio
import time

from django.utils import timezone

from runtime import http_request
from runtime.errors import InvocationError, NoRoute, Unavailable
from runtime.exchange import CLIENT_CLOSED, ClientGone, Exchange
from runtime.forward import Place
from runtime.hosts import role_of
from runtime.http_request import Target
from runtime.invoke import invoke
from runtime.minutes import Minutes
from runtime.once import Invoke, Once
from runtime.origin import Origin
from runtime.proxy import FunctionRelay
from runtime.record import Recorder, Sampler, relayed_row
from runtime.route import Route
from runtime.routes import RouteTable
from runtime.servers import Servers
from runtime.traffic import Traffic
from runtime.watch import Watch


class Functions:
    """All functions of one gateway."""

    def __init__(self, watch: Watch, invoke: Invoke = invoke) -> None:
        self._watch = watch
        self.traffic = Traffic()
        self._minutes = Minutes(self.traffic, lambda: watch.table)
        self._recorder = Recorder()
        self._sampler = Sampler()
        self._once = Once(watch, self._recorder, invoke, self.traffic.cold)
        self.servers = Servers(watch, self._relayed, self.traffic.cold)

    async def start(self) -> None:
        """Begin to serve, on the running loop; before the watch brings routes."""
        loop = asyncio.get_running_loop()
        self._watch.publish = lambda table: self._arrive(loop, table)
        self._recorder.start()
        self._minutes.start()
        self._once.pool.start()
        self.servers.start()

    def _arrive(self, loop: asyncio.AbstractEventLoop, table: RouteTable) -> None:
        loop.call_soon_threadsafe(self.servers.adopt, table)

    async def stop(self) -> None:
        """End everything that runs. The server has waited for its requests before."""
        await asyncio.gather(self.servers.stop(), asyncio.to_thread(self._once.stop))
        await asyncio.to_thread(self._minutes.stop)
        await asyncio.to_thread(self._recorder.stop)

    def serve_now(self, exchange: Exchange) -> bool:
        """Answer a request at once, where nothing has to be waited for.

        False where that is not so; raises InvocationError.
        """
        try:
            return self.servers.serve_now(exchange)
        except InvocationError as error:
            place = self.servers.place(exchange)
            if place is not None:
                self._count(place.route, exchange, error.status, error.code)
            raise

    async def serve(self, exchange: Exchange, target: Target, origin: Origin) -> bool:
        """Answer a request below the root, or have a relay answer it: True.

        Raises InvocationError and ClientGone.
        """
        place = self._find(target, origin)
        route, code = place.route, ""
        try:
            http_request.check_method(exchange.method, route.config.methods)
            if route.is_server:
                await self.servers.proxy.serve(exchange, place)
                return True
            code = await self._once.serve(exchange, target, origin, place)
        except InvocationError as error:
            self._count(route, exchange, error.status, error.code)
            raise
        except ClientGone:
            self._count(route, exchange, CLIENT_CLOSED, "")
            raise
        self._count(route, exchange, exchange.status, code)
        return False

    def _find(self, target: Target, origin: Origin) -> Place:
        table = self._watch.table
        if table is None:
            raise Unavailable("The platform is starting. Try again in a moment.")
        place = Place.find(table, target, role_of(origin.host).namespace)
        if place is None:
            raise NoRoute("No function answers at this path.")
        return place

    def _count(self, route: Route, exchange: Exchange, status: int, code: str) -> None:
        seconds = time.perf_counter() - exchange.started
        self.traffic.observe(route, status, seconds, code)

    def _relayed(self, relay: FunctionRelay) -> None:
        """What became of a request to a server function."""
        exchange, place, error = relay.exchange, relay.place, relay.error
        route = place.route
        ended = time.perf_counter()
        # A stream has answered when it begins, however long it goes on.
        seconds = (relay.streams_since or ended) - exchange.started
        self.traffic.observe(
            route, exchange.status, seconds, error.code if error else ""
        )
        if self._sampler.wants(route.function_id, exchange.status, ended):
            self._recorder.put(relayed_row(relay, timezone.now(), seconds))
        exchange.notes += f'{place.members}, "invocation_id": "{exchange.id}"'
        exchange.log(ended)
