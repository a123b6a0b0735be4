"""Serving requests with server functions: where a path leads, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from django.conf import settings

from runtime import hosts, http_request
from runtime.errors import InvocationError
from runtime.exchange import Exchange
from runtime.forward import Place
from runtime.instance import Instance
from runtime.instances import Instances
from runtime.origin import asked_host
from runtime.proxy import Observer, Proxy
from runtime.route import Route
from runtime.routes import RouteTable
from runtime.snapshot import Snapshot
from runtime.starter import Starter
from runtime.turnover import Turnover
from runtime.watch import Watch

Named = tuple[str, bytes]  # a namespace and a path on its own host
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
        self._places: dict[bytes | Named, Place | None] = {}
        # Asked once: settings are slow, and this is the way of every request. Where no
        # namespace has a host of its own, hosts do not matter.
        self._minds_hosts = bool(hosts.own_suffix())
        self._believes_proxies = bool(settings.ZERVERLESS_TRUSTED_PROXIES)
        self._namespaces: dict[str, str | None] = {}
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
        place = self.place(exchange)
        if place is None:
            return False
        if exchange.raw_query:
            http_request.check_characters(exchange.raw_path, exchange.raw_query)
        if exchange.method not in place.methods:
            http_request.check_method(exchange.method, place.methods)
        return self.proxy.serve_now(exchange, place)

    def place(self, exchange: Exchange) -> Place | None:
        """Where a request leads, if to a server function; remembered for a table."""
        table = self._watch.table
        if table is not self._placed:
            self._places.clear()
            self._placed = table
        raw_path = exchange.raw_path
        namespace = self._namespace(exchange) if self._minds_hosts else None
        key = raw_path if namespace is None else (namespace, raw_path)
        if key in self._places:
            return self._places[key]
        place = _place_in(table, raw_path, namespace) if table is not None else None
        if len(raw_path) <= _PATH_MAX and len(self._places) < _PLACES_MAX:
            self._places[key] = place
        return place

    def _namespace(self, exchange: Exchange) -> str | None:
        """The one whose host name was asked for, if it was such a name."""
        if self._believes_proxies:
            asked = asked_host(exchange.raw_headers, exchange.peer)
            return hosts.role_of(asked).namespace
        host = http_request.first_raw(exchange.raw_headers, b"host")
        try:
            return self._namespaces[host]
        except KeyError:
            namespace = hosts.role_of(host).namespace
        if len(host) <= _PATH_MAX and len(self._namespaces) < _PLACES_MAX:
            self._namespaces[host] = namespace
        return namespace

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


def _place_in(
    table: RouteTable, raw_path: bytes, namespace: str | None
) -> Place | None:
    try:
        target = http_request.read_target(raw_path, b"")
    except InvocationError:
        return None  # the way that waits for nothing is not the one that explains
    place = Place.find(table, target, namespace)
    return place if place is not None and place.route.is_server else None
