"""Serving a request with a container of its own: limits, body, run, answer, record."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.utils import timezone

from runtime import function_headers, http_request, request_body
from runtime.bounds import prefix_of
from runtime.exchange import Exchange, lines_of
from runtime.forward import Place
from runtime.http_request import Target
from runtime.invoke import Answer, Request, Stock, prime
from runtime.limits import BodyBudget, Limits
from runtime.origin import Origin, forwardable
from runtime.pool import Pool
from runtime.primed import Launcher, Primed
from runtime.record import Recorder, row
from runtime.route import Route
from runtime.watch import Watch

Cold = Callable[[Route, float], None]  # told of every start, and its seconds
Invoke = Callable[[Route, Request, str, threading.Event, Stock], Answer]


class Once:
    """Functions that run once for each request, in call order in `serve`."""

    def __init__(
        self, watch: Watch, recorder: Recorder, invoke: Invoke, cold: Cold
    ) -> None:
        total = settings.ZERVERLESS_CONCURRENCY
        self._watch = watch
        self._recorder = recorder
        self._invoke = invoke
        self._cold = cold
        self._limits = Limits(total, settings.ZERVERLESS_FUNCTION_CONCURRENCY)
        self._budget = BodyBudget(2 * total * settings.ZERVERLESS_MAX_BODY)
        self._threads = ThreadPoolExecutor(total, thread_name_prefix="invoke")
        self._launcher: Launcher | None = None
        self.pool = Pool(self._prime, self._live)

    def stop(self) -> None:
        """Wait for what runs, and discard what waits. Blocks."""
        self._threads.shutdown(wait=True)
        self.pool.stop()

    async def serve(
        self,
        exchange: Exchange,
        target: Target,
        origin: Origin,
        place: Place,
    ) -> str:
        """Answer a request and return the code of the platform's error, or "".

        Raises InvocationError and ClientGone.
        """
        route = place.route
        exchange.notes += place.members
        # The request id is the caller's to choose, this one is ours.
        exchange.note(invocation_id=exchange.id)
        length = http_request.body_length(exchange.headers)
        # Before the body is read: what will be refused need not be sent.
        self._limits.check(route.function_id, route.config.concurrency)
        body = await request_body.whole(exchange, length, self._budget)
        try:
            request = request_of(exchange, target, origin, place, body)
            answer, waited = await self._run(exchange, route, request)
        finally:
            self._budget.give_back(len(body))
        await _send(exchange, route, request, answer, waited)
        return answer.error.code if answer.error else ""

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
        if "create" in answer.record.phases:  # none was started ahead
            self._cold(route, function_headers.cold_ms(answer) / 1000)
        spent = (time.perf_counter() - exchange.started) * 1000
        self._recorder.put(row(route, request, answer, began, spent))
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


async def _send(
    exchange: Exchange, route: Route, request: Request, answer: Answer, queue_ms: float
) -> None:
    if answer.error is None:
        headers = function_headers.for_answer(route, request, answer, queue_ms)
        await exchange.answer(answer.status, headers, answer.body)
    else:
        timing = function_headers.timing(answer, queue_ms)
        also = [*function_headers.identify(route), timing]
        exchange.refuse(answer.error, lines_of(also))


def request_of(
    exchange: Exchange,
    target: Target,
    origin: Origin,
    place: Place,
    body: bytes,
) -> Request:
    """The request as the function is to see it."""
    headers = forwardable(exchange.headers, origin, exchange.request_id)
    if prefix := prefix_of(place.route, own_host=place.own_host):
        headers.append(("x-forwarded-prefix", prefix))
    if not http_request.first(headers, "traceparent"):
        # W3C Trace Context: version, trace, span, not sampled.
        headers.append(("traceparent", f"00-{exchange.id}-{exchange.id[:16]}-00"))
    return Request(
        id=exchange.id,
        method=exchange.method,
        raw_path=target.raw_path,
        sub_path=target.below(place.depth),
        query=target.query,
        headers=headers,
        body=body,
        client=origin.client,
        scheme=origin.scheme,
        host=origin.host,
        http_version=exchange.http_version,
        own_host=place.own_host,
    )
