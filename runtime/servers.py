"""Serving requests with server functions: where a path leads, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from runtime import http_request
from runtime.errors import InvocationError
from runtime.exchange import Exchange
from runtime.forward import Place
from runtime.instance import Instance
from runtime.instances import Instances
from runtime.proxy import Observer, Proxy
from runtime.route import Route
from runtime.routes import RouteTable
from runtime.snapshot import Snapshot
from runtime.starter import Starter
from runtime.turnover import Turnover
from runtime.watch import Watch

Cold = Callable[[Route, float], None]  # told of every start, and its seconds

# Paths whose place is remembered, and how long such a path may be, in bytes.
_PLACES_MAX = 4096
_PATH_MAX = 256


class Servers:
    """The server functions of one gateway; all of it belongs to its event loop."""

    def __init__(self, watch: Watch, observe: Observer, cold: Cold) -> None:
        self._watch = watch
        self._cold = cold
        self.instances = Instances(self._start_instance)
        self.proxy = Proxy(self.instances, observe)
        self.turnover = Turnover(self.instances, watch.use)
        self._starter: Starter | None = None
        self._places: dict[bytes, Place | None] = {}
        self._placed: RouteTable | None = None

    def start(self) -> None:
        """Begin to say what the instances are doing."""
        snapshot = Snapshot(self._watch.gateway_id, self.instances)
        self._watch.chores.append(snapshot.write)

    async def stop(self) -> None:
        """End everything that runs."""
        self.turnover.stop()
        self.proxy.stop()
        await self.instances.stop()
        if self._starter is not None:
            await self._starter.stop()

    def adopt(self, table: RouteTable) -> None:
        """Go over to a newer table."""
        if table.has_servers:
            self._get_starter()  # sandboxes take a while
        self.turnover.arrive(table)

    def serve_now(self, exchange: Exchange) -> bool:
        """Pass a request on to an instance that is ready for it.

        False where that is not so; raises InvocationError.
        """
        place = self.place(exchange.raw_path)
        if place is None:
            return False
        if exchange.raw_query:
            http_request.check_characters(exchange.raw_path, exchange.raw_query)
        if exchange.method not in place.methods:
            http_request.check_method(exchange.method, place.methods)
        return self.proxy.serve_now(exchange, place)

    def place(self, raw_path: bytes) -> Place | None:
        """Where a path leads, if that is a server function; remembered for a table."""
        table = self._watch.table
        if table is not self._placed:
            self._places.clear()
            self._placed = table
        if raw_path in self._places:
            return self._places[raw_path]
        place = _place_in(table, raw_path) if table is not None else None
        if len(raw_path) <= _PATH_MAX and len(self._places) < _PLACES_MAX:
            self._places[raw_path] = place
        return place

    async def _start_instance(self, route: Route) -> Instance:
        began = perf_counter()
        instance = await self._get_starter().start(route)
        self._cold(route, perf_counter() - began)
        instance.on_exit = lambda one, error: one.fleet.died(one, error)
        return instance

    def _get_starter(self) -> Starter:
        """Made when the first server function is seen: others need nothing of it."""
        if self._starter is None:
            self._starter = Starter(self._watch.owner)
        return self._starter


def _place_in(table: RouteTable, raw_path: bytes) -> Place | None:
    try:
        target = http_request.read_target(raw_path, b"")
    except InvocationError:
        return None  # the way that waits for nothing is not the one that explains
    found = table.find(target.segments)
    if found is None or not found[0].is_server:
        return None
    return Place.of(found[0], target, found[1])
