"""The checks of a manifest: what is asked, and whether the answer lets it go live.

A server is asked over HTTP/1.1, on a connection of its own for each check; a function
that runs once per request is run as the gateway would run it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httptools
from django.conf import settings

from applications.positions import visible
from applications.spec import Check
from runtime import hosts, http_request
from runtime.bounds import prefix_of
from runtime.errors import ContainerEngineError, InvocationError, Unavailable
from runtime.invoke import Request, invoke
from runtime.route import Route
from runtime.upstream_connection import answer_parser

ANY = Check("GET", "/", status=0)  # answered with whichever status
_QUOTED = 200  # characters of an answer that a message repeats
_PIECE = 64 * 1024


@dataclass
class Got:
    """What came back. `problem` is why there is no whole answer, if there is none."""

    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    problem: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        said = self.status if self.status else "no answer"
        return f"{said} in {self.seconds * 1000:,.0f} ms"


def problem_of(check: Check, got: Got) -> str:
    """What is wrong with an answer, in words: expected what, got what; or nothing."""
    if got.status == 0:
        return f"expected status {check.status}, got no answer: {got.problem}"
    if got.status != check.status:
        return (
            f"expected status {check.status}, got {got.status} with {_quoted(got.body)}"
        )
    if not check.contains or _holds(check, got.body):
        return ""
    ended = f" ({got.problem})" if got.problem else ""
    said = _quoted(got.body)
    return f'expected "{check.contains}" in the answer, got {said}{ended}'


def _holds(check: Check, body: bytearray) -> bool:
    return check.contains.encode() in body


def _quoted(body: bytearray) -> str:
    text = visible(body.decode("utf-8", "replace").strip(), _QUOTED)
    return f'"{text}"' if text else "an empty body"


# -- a server --------------------------------------------------------------------------


async def ask(
    connect: Callable[[], Any], route: Route, check: Check, seconds: float
) -> Got:
    """Send one check over a connection from `connect` and read what decides it.

    Not more: an answer may be a stream without an end. `seconds` is for all of it.
    """
    started = time.perf_counter()
    reader = _Reader(check)
    try:
        async with asyncio.timeout(seconds):
            await _exchange(await connect(), _head(route, check), reader)
    except TimeoutError:
        reader.got.problem = f"it did not end within {seconds:g} s"
    except InvocationError as error:
        reader.got.problem = error.message.rstrip(".")
    except (OSError, httptools.HttpParserError) as error:
        reader.got.problem = f"it broke off: {error}"
    reader.got.seconds = time.perf_counter() - started
    return reader.got


async def _exchange(connection: socket.socket, head: bytes, reader: _Reader) -> None:
    incoming, outgoing = await asyncio.open_connection(sock=connection)
    try:
        outgoing.write(head)
        await outgoing.drain()
        while not reader.is_decided:
            data = await incoming.read(_PIECE)
            if not data:
                reader.ended()
                return
            reader.feed(data)
    finally:
        outgoing.transport.abort()


class _Reader:
    """Parses an answer as far as the check needs it."""

    def __init__(self, check: Check) -> None:
        self.got = Got()
        self.is_decided = False
        self._check = check
        self._status = 0
        self._parser = answer_parser(self)

    def feed(self, data: bytes) -> None:
        with suppress(httptools.HttpParserUpgrade):
            self._parser.feed_data(data)

    def ended(self) -> None:
        """The connection is closed; without a length that is the end of the answer."""
        if not self.is_decided and not self.got.status:
            self.got.problem = "it closed the connection"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            return
        self.got.status = status
        wanted = self._check.status
        is_enough = wanted in {0, status} and not self._check.contains
        self.is_decided = is_enough or self._check.method == "HEAD"

    def on_body(self, body: bytes) -> None:
        room = settings.ZERVERLESS_MAX_BODY - len(self.got.body)
        self.got.body += body[:room]
        is_right = self.got.status == self._check.status
        found = is_right and _holds(self._check, self.got.body)
        # Of a wrong answer the beginning is enough to be shown.
        wrong = not is_right and len(self.got.body) > 4 * _QUOTED
        self.is_decided = found or wrong or len(body) > room

    def on_message_complete(self) -> None:
        if self.got.status:
            self.is_decided = True


def _head(route: Route, check: Check) -> bytes:
    headers = _headers(route)
    if check.method in {"POST", "PUT", "PATCH"}:
        headers.append(("content-length", "0"))
    lines = [f"{check.method} {check.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode("latin-1")


# -- one container per request ---------------------------------------------------------


def run(route: Route, check: Check, owner: str, stop: threading.Event) -> Got:
    """Run the function once for this check, as the gateway does for a request.

    Raises ContainerEngineError where that says nothing about the function.
    """
    started = time.perf_counter()
    answer = invoke(route, _request(route, check), owner, stop)
    seconds = time.perf_counter() - started
    if isinstance(answer.error, Unavailable):
        raise ContainerEngineError(answer.error.message)
    if answer.error is not None:
        return Got(problem=answer.error.message.rstrip("."), seconds=seconds)
    return Got(answer.status, bytearray(answer.body), seconds=seconds)


def _request(route: Route, check: Check) -> Request:
    """The check's `/` is the function's bare address."""
    path, _, query = check.path.partition("?")
    whole = _prefix(route) + (path if path != "/" else "") or "/"
    target = http_request.read_target(whole.encode(), query.encode())
    depth = _prefix(route).count("/")
    return Request(
        id=http_request.new_id(),
        method=check.method,
        raw_path=target.raw_path,
        sub_path=target.below(depth),
        query=target.query,
        headers=_headers(route),
        client="127.0.0.1",
        scheme=_public(route).scheme,
        host=_public(route).netloc,
        own_host=hosts.are_apart(),
    )


# -- both ------------------------------------------------------------------------------


def _headers(route: Route) -> list[tuple[str, str]]:
    """As a request through the gateway would have them."""
    public, prefix = _public(route), _prefix(route)
    return [
        ("host", public.netloc),
        ("user-agent", "Zerverless-Check"),
        ("accept", "*/*"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", public.netloc),
        ("x-forwarded-proto", public.scheme),
        *([("x-forwarded-prefix", prefix)] if prefix else []),
        ("x-request-id", http_request.new_id()),
    ]


def _public(route: Route) -> SplitResult:
    """The function's address, as its callers know it."""
    return urlsplit(hosts.address_of(route.namespace, route.path))


def _prefix(route: Route) -> str:
    return prefix_of(route, own_host=hosts.are_apart())
