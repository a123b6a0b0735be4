"""A request's body in one piece, for what cannot take it as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

from django.conf import settings

from runtime import http_request
from runtime.errors import BadRequest, RequestTimeout
from runtime.exchange import Exchange, ignore
from runtime.limits import BodyBudget


async def whole(exchange: Exchange, length: int | None, budget: BodyBudget) -> bytes:
    """The body, at most ZERVERLESS_MAX_BODY; the caller gives it back to `budget`.

    Raises BodyTooLarge, BadRequest where it ends early, and RequestTimeout.
    """
    if length == 0:
        return b""
    pieces = []
    taken = 0
    try:
        async for piece in _pieces(exchange):
            budget.take(len(piece))
            taken += len(piece)
            pieces.append(piece)
    except BaseException:
        budget.give_back(taken)
        raise
    return b"".join(pieces)


async def _pieces(exchange: Exchange) -> AsyncIterator[bytes]:
    received = 0
    exchange.ask_for_body()
    deadline = perf_counter() + settings.ZERVERLESS_REQUEST_TIMEOUT
    while data := await _read(exchange, deadline):
        received += len(data)
        if received > settings.ZERVERLESS_MAX_BODY:
            raise http_request.body_too_large()
        yield data


async def _read(exchange: Exchange, deadline: float) -> bytes:
    """The next piece of the body, b"" at its end."""
    while not (data := exchange.take()):
        if exchange.is_whole:
            return b""
        if exchange.is_truncated or exchange.is_gone:
            # Mostly nobody is left to read this; after a half-close somebody is.
            raise BadRequest("The request body ended early or is malformed.")
        await _wait_for_news(exchange, deadline)
    return data


async def _wait_for_news(exchange: Exchange, deadline: float) -> None:
    news = asyncio.get_running_loop().create_future()
    exchange.on_news = lambda: None if news.done() else news.set_result(None)
    try:
        async with asyncio.timeout(max(deadline - perf_counter(), 0)):
            await news
    except TimeoutError:
        raise RequestTimeout("The request body did not arrive in time.") from None
    finally:
        exchange.on_news = ignore
