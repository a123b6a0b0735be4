"""Handing `/-/…` on to the web process, whatever state that is in.

A slow or dead dashboard costs a connection here and nothing else: no thread, no slot
of a function, no body in memory.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from runtime import http_request
from runtime.errors import LengthRequired, Unavailable
from runtime.exchange import ClientGone, Exchange
from runtime.http_request import HOP_BY_HOP, Headers, Origin, Target
from runtime.problem import Problem
from runtime.upstream import RawHeaders, Reply, Upstream, UpstreamAbsent, UpstreamFailed

log = logging.getLogger(__name__)

MOST_AT_ONCE = 128
ANSWER_SECONDS = 60.0


class ControlPlane:
    """The way to the web process on its unix socket."""

    def __init__(self, socket: Path) -> None:
        self._upstream = Upstream(socket, ANSWER_SECONDS)
        self._running = 0

    async def serve(self, exchange: Exchange, target: Target, origin: Origin) -> None:
        """Pass a request on and its answer back; raises the InvocationError family."""
        length = http_request.body_length(exchange.headers)
        if length is None:
            # WSGI has no word for it: Django would take the body for empty.
            raise LengthRequired("The dashboard needs a Content-Length.")
        if self._running >= MOST_AT_ONCE:
            raise Unavailable("The dashboard is busy. Try again in a moment.")
        self._running += 1
        try:
            await self._pass_on(exchange, target, origin, length)
        finally:
            self._running -= 1

    async def _pass_on(
        self, exchange: Exchange, target: Target, origin: Origin, length: int
    ) -> None:
        try:
            reply = await self._upstream.send(
                exchange.method,
                f"{target.raw_path}?{target.query}"
                if target.query
                else target.raw_path,
                _headers(exchange, origin),
                exchange.body() if length else None,
                length,
            )
        except UpstreamAbsent as error:
            log.warning("the web process cannot be reached: %s", error)
            await exchange.fail(_STARTING)
        except UpstreamFailed as error:
            log.error("the web process failed: %s", error)
            await exchange.fail(_FAILED)
        else:
            await _pass_back(exchange, reply)

    def close(self) -> None:
        """Drop the idle connections."""
        self._upstream.close()


_STARTING = Problem(
    503,
    "ZV503",
    "The dashboard is starting",
    "The control plane does not answer yet. Functions are not affected.",
    retry_after=2,
)
_FAILED = Problem(
    502,
    "ZV502",
    "The dashboard failed",
    "The control plane gave no answer. Functions are not affected.",
)


def _headers(exchange: Exchange, origin: Origin) -> RawHeaders:
    headers = http_request.forwardable(exchange.headers, origin, exchange.request_id)
    kept = [item for item in headers if item[0] != "host"]
    return [
        (name.encode("ascii"), value.encode("latin-1"))
        for name, value in [("host", origin.host), *kept]
    ]


async def _pass_back(exchange: Exchange, reply: Reply) -> None:
    # From here on the body has been read, so the only news is that the client left.
    watching = asyncio.create_task(exchange.disconnected())
    watching.add_done_callback(lambda task: None if task.cancelled() else reply.abort())
    try:
        await exchange.start(reply.status, _answer_headers(reply.headers))
        while data := await reply.read():
            await exchange.write(data, more=True)
        await exchange.write(b"", more=False)
    except UpstreamFailed as error:
        if not watching.done():
            log.error("the web process broke off an answer: %s", error)
        raise ClientGone from error
    finally:
        watching.cancel()
        reply.close()


def _answer_headers(raw: RawHeaders) -> Headers:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
    dropped = HOP_BY_HOP | {"x-request-id", "server", "date"}
    return [item for item in headers if item[0] not in dropped]
