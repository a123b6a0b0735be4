"""Requests to server functions: from the route to an instance, and through it.

`serve_now` is the warm path: an instance with room and an open connection are there, so
everything happens at once, without a task. Whatever has to wait goes through `serve`.
"""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import Protocol

from runtime import forward
from runtime.errors import (
    FunctionFailed,
    FunctionTimeout,
    InvocationError,
    Unavailable,
)
from runtime.exchange import ClientGone, Exchange
from runtime.forward import Place
from runtime.http_request import RawHeaders
from runtime.instance import Instance
from runtime.instances import Instances
from runtime.relay import Relay
from runtime.route import Route
from runtime.upstream_connection import UpstreamConnection

# Of the request that asks: nothing was sent, so another instance may be tried.
ATTEMPTS = 3
# The engine tells of a container's end so soon after its connections broke.
_NEWS_SECONDS = 0.25


class Observer(Protocol):
    """Who is told what became of a request."""

    def __call__(self, relay: FunctionRelay) -> None: ...


class FunctionRelay(Relay):
    """A relay through one instance of a server function."""

    __slots__ = ("cold", "instance", "place", "proxy", "queued")

    def __init__(
        self,
        proxy: Proxy,
        exchange: Exchange,
        place: Place,
        instance: Instance,
        connection: UpstreamConnection,
    ) -> None:
        super().__init__(exchange, connection, place.route.config.timeout)
        self.proxy = proxy
        self.place = place
        self.instance = instance
        # Seconds this request waited: for its turn, and for an instance to start.
        self.queued = self.cold = 0.0

    def timing(self) -> bytes:
        """Server-Timing in milliseconds: waiting, starting, the function's answer."""
        run = (perf_counter() - self.started) * 1000
        if not self.queued:
            return b"server-timing: queue;dur=0.0, cold;dur=0.0, fn;dur=%.1f\r\n" % run
        return b"server-timing: queue;dur=%.1f, cold;dur=%.1f, fn;dur=%.1f\r\n" % (
            self.queued * 1000,
            self.cold * 1000,
            run,
        )

    @property
    def phases(self) -> dict[str, float]:
        """For the invocation's row, in milliseconds."""
        return {
            "queue": round(self.queued * 1000, 3),
            "cold": round(self.cold * 1000, 3),
            "run": round((perf_counter() - self.started) * 1000, 3),
        }

    def answer_lines(self, headers: RawHeaders) -> tuple[bytes, int | None]:
        place = self.place
        answers = place.answers
        answers.read(headers, self.connection.status, self.exchange.method)
        return answers.lines + place.marks + self.timing(), answers.length

    def failed(self, reason: str) -> None:
        if self.connection.is_lost and self.awaits_answer:
            self.proxy.find_out(self, reason)
        else:
            super().failed(reason)

    def failure(self, reason: str) -> InvocationError:
        return FunctionFailed(f"The function gave no answer: {reason}.")

    def too_late(self) -> InvocationError:
        return FunctionTimeout(f"The function gave no answer in {self.timeout:g} s.")

    def check_size(self, size: int) -> None:
        forward.check_size(size)

    def marks(self) -> bytes:
        return self.place.marks + self.timing()

    def done(self) -> None:
        self.proxy.finished(self)


class Proxy:
    """The way of requests into instances."""

    def __init__(self, instances: Instances, observe: Observer) -> None:
        self._instances = instances
        self._observe = observe
        self._running: set[FunctionRelay] = set()

    def tick(self, now: float) -> None:
        """End the wait for answers that do not come."""
        for relay in list(self._running):
            relay.tick(now)

    def stop(self) -> None:
        """Cut what still runs."""
        for relay in list(self._running):
            relay.cut()

    def serve_now(self, exchange: Exchange, place: Place) -> bool:
        """Pass a request on if nothing has to be waited for; False otherwise.

        Raises InvocationError.
        """
        instance = self._instances.acquire(place.route)
        if instance is None:
            return False
        connection = instance.idle.take()
        if connection is None:
            self._instances.release(instance)
            return False
        try:
            head, length = forward.request_head(exchange, place)
        except InvocationError:
            instance.idle.keep(connection)
            self._instances.release(instance)
            raise
        relay = FunctionRelay(self, exchange, place, instance, connection)
        self._running.add(relay)
        relay.begin(head, length)
        return True

    async def serve(self, exchange: Exchange, place: Place) -> None:
        """Pass a request on as soon as an instance has room; raises InvocationError
        and ClientGone. Returns when it is on its way."""
        # First, so that nothing is started for a request that will be refused.
        head, length = forward.request_head(exchange, place)
        cold = 0.0
        for _ in range(ATTEMPTS):
            instance = self._instances.acquire(place.route)
            if instance is None:
                began, asked = perf_counter(), monotonic()
                instance = await self._wait(exchange, place.route)
                if instance.ready_at > asked:  # not only busy until now
                    cold += perf_counter() - began
            try:
                connection = instance.idle.take() or await _connect(instance)
            except FunctionFailed:
                self._instances.release(instance, broken=True)
                continue
            except BaseException:
                self._instances.release(instance)
                raise
            if exchange.is_gone:
                instance.idle.keep(connection)
                self._instances.release(instance)
                raise ClientGone
            if not connection.is_usable:  # gone as soon as it was there
                self._instances.release(instance)
                continue
            # A newer deployment may have taken over while this request waited.
            relay = FunctionRelay(
                self, exchange, place.on(instance.route), instance, connection
            )
            relay.cold = cold
            relay.queued = relay.started - exchange.started - cold
            self._running.add(relay)
            relay.begin(head, length)
            return
        raise Unavailable("The function takes no connection. Try again in a moment.")

    async def _wait(self, exchange: Exchange, route: Route) -> Instance:
        """The next free instance, unless the client leaves first."""
        waiting = asyncio.ensure_future(self._instances.wait(route))
        leaving = asyncio.ensure_future(exchange.disconnected())
        try:
            await asyncio.wait({waiting, leaving}, return_when="FIRST_COMPLETED")
            if waiting.done():
                return waiting.result()
        finally:
            leaving.cancel()
            if not waiting.done():
                waiting.cancel()
        raise ClientGone

    def find_out(self, relay: FunctionRelay, reason: str) -> None:
        """Answer a request whose connection broke, with the function's end where that
        is why. Its caller, who may ask again at once, is let wait for the news: until
        then the next request would go to what is dying."""
        self._instances.spawn(self._find_out(relay, reason))

    async def _find_out(self, relay: FunctionRelay, reason: str) -> None:
        ended = await relay.instance.why_ended(_NEWS_SECONDS)
        relay.fail(ended or relay.failure(reason))

    def finished(self, relay: FunctionRelay) -> None:
        """A relay is over: its connection and its slot are free again."""
        self._running.discard(relay)
        instance, now = relay.instance, monotonic()
        if relay.is_clean:
            instance.idle.keep(relay.connection, now)
        answered = None if relay.was_cancelled else not relay.timed_out
        self._instances.release(instance, answered=answered, now=now)
        self._observe(relay)


async def _connect(instance: Instance) -> UpstreamConnection:
    raw = await instance.connect()
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: UpstreamConnection(raw), sock=raw
    )
    connection.keeps_alive = True
    return connection
