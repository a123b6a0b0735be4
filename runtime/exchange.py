"""One HTTP request and its one answer, over ASGI (asgiref 3, http scope version 2)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

from runtime import http_request
from runtime.errors import BadRequest, InvocationError, RequestTimeout
from runtime.http_request import Headers
from runtime.limits import BodyBudget
from runtime.problem import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

access = logging.getLogger("zerverless.access")


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


class Exchange:
    """The request as it came, what is known about it so far, and the way to answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started = time.perf_counter()
        self.method: str = scope["method"]
        self.http_version: str = scope["http_version"]
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.raw_path: bytes = scope.get("raw_path") or b""
        self.raw_query: bytes = scope["query_string"]
        self.peer: str = (scope.get("client") or ("",))[0]
        self.scheme: str = scope["scheme"]
        self.id = self.request_id = http_request.new_id()
        self.headers: Headers = []
        self.status = 0
        self.sent = 0
        # What the access line says beside the request itself.
        self.notes: dict[str, Any] = {}
        self._receive, self._send = receive, send
        self._is_gone = False

    # -- the request ------------------------------------------------------------------

    def read_head(self) -> http_request.Target:
        """Check headers and target; raises the BadRequest family."""
        # First, so that an error about the rest is found under the caller's own id.
        self.request_id = http_request.request_id(
            [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self.raw_headers
                if name == b"x-request-id"
            ],
            self.id,
        )
        self.headers = http_request.read_headers(self.raw_headers, self.http_version)
        return http_request.read_target(self.raw_path, self.raw_query)

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they come, at most ZERVERLESS_MAX_BODY in all.

        Raises BodyTooLarge, BadRequest where it ends early, and RequestTimeout.
        """
        received = 0
        deadline = self.started + settings.ZERVERLESS_REQUEST_TIMEOUT
        more = True
        while more:
            message = await self._next_message(deadline - time.perf_counter())
            data = message.get("body", b"")
            received += len(data)
            if received > settings.ZERVERLESS_MAX_BODY:
                raise http_request.body_too_large()
            more = message.get("more_body", False)
            yield data

    async def _next_message(self, seconds: float) -> MutableMapping[str, Any]:
        try:
            async with asyncio.timeout(max(seconds, 0)):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout("The request body did not arrive in time.") from None
        if message["type"] == "http.disconnect":
            # Mostly nobody is left to read this; after a half-close somebody is.
            self._is_gone = True
            raise BadRequest("The request body ended early or is malformed.")
        return message

    async def whole_body(self, length: int | None, budget: BodyBudget) -> bytes:
        """The body in one piece; `budget` is charged and must be given back."""
        if length == 0:
            return b""
        pieces = []
        taken = 0
        try:
            async for piece in self.body():
                budget.take(len(piece))
                taken += len(piece)
                pieces.append(piece)
        except BaseException:
            budget.give_back(taken)
            raise
        return b"".join(pieces)

    async def disconnected(self) -> None:
        """Return when the client has gone. Only after the body has been read."""
        while not self._is_gone:
            message = await self._receive()
            self._is_gone = message["type"] == "http.disconnect"

    # -- the answer -------------------------------------------------------------------

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer; every answer carries X-Request-Id."""
        self.status = status
        encoded = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        encoded.append((b"x-request-id", self.request_id.encode("ascii")))
        await self._send(
            {"type": "http.response.start", "status": status, "headers": encoded}
        )

    async def write(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the answer's body."""
        self.sent += len(data)
        await self._send(
            {"type": "http.response.body", "body": data, "more_body": more}
        )

    async def answer(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer; to HEAD without the body, but with its length."""
        await self.start(status, headers)
        await self.write(b"" if self.method == "HEAD" else body, more=False)

    async def fail(self, problem: Problem, also: Headers | None = None) -> None:
        """Answer with a platform error, and with headers beside its own."""
        self.notes["error_code"] = problem.code
        accept = http_request.first(self.headers, "accept")
        headers, body = problem.render(self.request_id, accept)
        await self.answer(problem.status, headers + (also or []), body)

    async def refuse(self, error: InvocationError) -> None:
        """Answer with the documented form of an error."""
        await self.fail(Problem.of(error))

    def log(self) -> None:
        """One access line: what came, what went, how long it took."""
        milliseconds = (time.perf_counter() - self.started) * 1000
        path = self.raw_path.decode("latin-1")
        access.info(
            "%s %s %s",
            self.method,
            path,
            self.status,
            extra={
                "event": "request",
                "request_id": self.request_id,
                "method": self.method,
                "path": path,
                "status": self.status,
                "duration_ms": round(milliseconds, 3),
                "response_bytes": self.sent,
                **self.notes,
            },
        )
