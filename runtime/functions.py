"""Serving a function from the event loop: route, limits, body, run, answer, record.

Server functions go through the proxy, the others get a container of their own.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.utils import timezone

from runtime import function_headers, http_request
from runtime.errors import InvocationError, NoRoute, Unavailable
from runtime.exchange import Exchange, lines_of
from runtime.forward import Place
from runtime.http_request import Origin, Target
from runtime.instance import Instance
from runtime.instances import Instances
from runtime.invoke import Answer, Request, Stock, invoke, prime
from runtime.limits import BodyBudget, Limits
from runtime.pool import Pool
from runtime.primed import Launcher, Primed
from runtime.proxy import FunctionRelay, Proxy
from runtime.record import Recorder, Sampler, relayed_row, row
from runtime.route import Route
from runtime.routes import RouteTable
from runtime.snapshot import Snapshot
from runtime.starter import Starter
from runtime.turnover import Turnover
from runtime.watch import Watch

Invoke = Callable[[Route, Request, str, threading.Event, Stock], Answer]
# Paths whose place is remembered, and how long such a path may be, in bytes.
_PLACES_MAX = 4096
_PATH_MAX = 256


class Functions:
    """Everything a request to a function passes through, in call order in `serve`."""

    def __init__(self, watch: Watch, invoke: Invoke = invoke) -> None:
        total = settings.ZERVERLESS_CONCURRENCY
        self._watch = watch
        self._invoke = invoke
        self._limits = Limits(total, settings.ZERVERLESS_FUNCTION_CONCURRENCY)
        self._budget = BodyBudget(2 * total * settings.ZERVERLESS_MAX_BODY)
        self._threads = ThreadPoolExecutor(total, thread_name_prefix="invoke")
        self.recorder = Recorder()
        self.pool = Pool(self._prime, self._live)
        self.instances = Instances(self._start_instance)
        self.proxy = Proxy(self.instances, self._observe)
        self._turnover = Turnover(self.instances, watch.use)
        self._sampler = Sampler()
        self._starter: Starter | None = None
        self._launcher: Launcher | None = None
        self._places: dict[bytes, Place | None] = {}
        self._placed: RouteTable | None = None

    async def start(self) -> None:
        """Begin to serve, on the running loop; before the watch brings routes."""
        loop = asyncio.get_running_loop()
        self._watch.publish = lambda table: self._arrive(loop, table)
        snapshot = Snapshot(self._watch.gateway_id, self.instances)
        self._watch.chores.append(snapshot.write)
        self.recorder.start()
        self.pool.start()

    def _arrive(self, loop: asyncio.AbstractEventLoop, table: RouteTable) -> None:
        loop.call_soon_threadsafe(self._adopt, table)

    def _adopt(self, table: RouteTable) -> None:
        if table.has_servers:
            self._get_starter()
        self._turnover.arrive(table)

    async def stop(self) -> None:
        """End everything that runs. The server has waited for its requests before."""
        self._turnover.stop()
        self.proxy.stop()
        await asyncio.gather(
            self.instances.stop(), asyncio.to_thread(self._stop_containers)
        )
        if self._starter is not None:
            await self._starter.stop()
        self.recorder.stop()

    def _stop_containers(self) -> None:
        self._threads.shutdown(wait=True)
        self.pool.stop()

    def serve_now(self, exchange: Exchange) -> bool:
        """Pass a request on to a server function whose instance is ready for it.

        False where that is not so; raises InvocationError.
        """
        place = self._place(exchange.raw_path)
        if place is None:
            return False
        if exchange.raw_query:
            http_request.check_characters(exchange.raw_path, exchange.raw_query)
        http_request.check_method(exchange.method, place.route.config.methods)
        return self.proxy.serve_now(exchange, place)

    def _place(self, raw_path: bytes) -> Place | None:
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

    async def serve(self, exchange: Exchange, target: Target, origin: Origin) -> bool:
        """Answer a request below the root, or have a relay answer it: True.

        Raises InvocationError and ClientGone.
        """
        route, depth = self._find(target)
        http_request.check_method(exchange.method, route.config.methods)
        if route.is_server:
            await self.proxy.serve(exchange, Place.of(route, target, depth))
            return True
        await self._serve_once(exchange, target, origin, route, depth)
        return False

    async def _serve_once(
        self,
        exchange: Exchange,
        target: Target,
        origin: Origin,
        route: Route,
        depth: int,
    ) -> None:
        exchange.notes += Place.of(route, target, depth).members
        # The request id is the caller's to choose, this one is ours.
        exchange.note(invocation_id=exchange.id)
        length = http_request.body_length(exchange.headers)
        # Before the body is read: what will be refused need not be sent.
        self._limits.check(route.function_id, route.config.concurrency)
        body = await exchange.whole_body(length, self._budget)
        try:
            request = request_of(exchange, target, origin, route, depth, body)
            answer, waited = await self._run(exchange, route, request)
        finally:
            self._budget.give_back(len(body))
        await _send(exchange, route, answer, waited)

    def _find(self, target: Target) -> tuple[Route, int]:
        table = self._watch.table
        if table is None:
            raise Unavailable("The platform is starting. Try again in a moment.")
        found = table.find(target.segments)
        if found is None:
            raise NoRoute("No function answers at this path.")
        return found

    async def _run(
        self, exchange: Exchange, route: Route, request: Request
    ) -> tuple[Answer, float]:
        """The function's answer and the milliseconds until it was started."""
        began = timezone.now()
        cancelled = threading.Event()
        with self._limits.slot(route.function_id, route.config.concurrency):
            waited = (time.perf_counter() - exchange.started) * 1000
            watching = asyncio.create_task(exchange.disconnected())
            watching.add_done_callback(lambda _: cancelled.set())
            try:
                answer = await asyncio.get_running_loop().run_in_executor(
                    self._threads,
                    self._invoke,
                    route,
                    request,
                    self._watch.owner,
                    cancelled,
                    self.pool,
                )
            finally:
                watching.cancel()
        spent = (time.perf_counter() - exchange.started) * 1000
        self.recorder.put(row(route, request, answer, began, spent))
        return answer, waited

    def _live(self) -> frozenset[int]:
        table = self._watch.table
        return table.deployments if table is not None else frozenset()

    def _prime(self, route: Route) -> Primed:
        """Start a container ahead; called by the pool's thread only."""
        owner = self._watch.owner
        if self._launcher is None:
            installation, _, gateway = owner.partition("-")
            self._launcher = Launcher.ensure(installation, gateway, route.image_id)
        return prime(route, owner, self._launcher)

    async def _start_instance(self, route: Route) -> Instance:
        instance = await self._get_starter().start(route)
        instance.on_exit = lambda one, error: one.fleet.died(one, error)
        return instance

    def _get_starter(self) -> Starter:
        """Made when the first server function is seen: others need nothing of it."""
        if self._starter is None:
            self._starter = Starter(self._watch.owner)
        return self._starter

    def _observe(self, relay: FunctionRelay) -> None:
        """What became of a request to a server function."""
        exchange, place = relay.exchange, relay.place
        seconds = time.perf_counter() - exchange.started
        if self._sampler.wants(place.route.function_id, exchange.status):
            self.recorder.put(relayed_row(relay, timezone.now(), seconds))
        exchange.notes += f'{place.members}, "invocation_id": "{exchange.id}"'
        exchange.log()


def _place_in(table: RouteTable, raw_path: bytes) -> Place | None:
    try:
        target = http_request.read_target(raw_path, b"")
    except InvocationError:
        return None  # the way that waits for nothing is not the one that explains
    found = table.find(target.segments)
    if found is None or not found[0].is_server:
        return None
    return Place.of(found[0], target, found[1])


async def _send(
    exchange: Exchange, route: Route, answer: Answer, queue_ms: float
) -> None:
    if answer.error is None:
        headers = function_headers.for_answer(route, answer, queue_ms)
        await exchange.answer(answer.status, headers, answer.body)
    else:
        timing = function_headers.timing(answer, queue_ms)
        also = [*function_headers.identify(route), timing]
        exchange.refuse(answer.error, lines_of(also))


def request_of(
    exchange: Exchange,
    target: Target,
    origin: Origin,
    route: Route,
    depth: int,
    body: bytes,
) -> Request:
    """The request as the function is to see it."""
    headers = http_request.forwardable(exchange.headers, origin, exchange.request_id)
    prefix = "/" + "/".join(target.segments[:depth])
    headers.append(("x-forwarded-prefix", prefix))
    if not http_request.first(headers, "traceparent"):
        # W3C Trace Context: version, trace, span, not sampled.
        headers.append(("traceparent", f"00-{exchange.id}-{exchange.id[:16]}-00"))
    return Request(
        id=exchange.id,
        method=exchange.method,
        raw_path=target.raw_path,
        sub_path=target.below(depth),
        query=target.query,
        headers=headers,
        body=body,
        client=origin.client,
        scheme=origin.scheme,
        host=origin.host,
        http_version=exchange.http_version,
    )
