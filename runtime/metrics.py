"""`/metrics` for Prometheus: what this gateway counted, and what the database says.

Nothing here runs on the event loop but the decision who may read it. Figures of the
database are read by a thread and kept for some seconds; while it is away, or slow, the
answer goes without them.

Only a request with ZERVERLESS_METRICS_TOKEN is answered. An address is no proof of who
asks: a build's ADD of a URL comes from the Docker daemon, which may be on this machine,
and so does everything that a proxy in front of us passes on. The token travels as
Bearer and never as Basic: a browser would send that to the functions of the host too.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from runtime import figures, siblings
from runtime.exchange import Exchange
from runtime.families import Scrape
from runtime.figures import Builds, Figures
from runtime.http_request import RawHeaders, first_raw
from runtime.routes import RouteTable
from runtime.siblings import Ear, Told
from runtime.traffic import Reading, Traffic

log = logging.getLogger(__name__)

FRESH = 5.0
PATIENCE = 2.0
FUNCTIONS_MAX = 1000
_TEXT = ("content-type", "text/plain; charset=utf-8")
_NO_STORE = ("cache-control", "no-store")


class Metrics:
    """Answers scrapes: one for each gateway. `table` has the routes in force."""

    def __init__(
        self,
        traffic: Traffic,
        table: Callable[[], RouteTable | None],
        name: str = siblings.NAME,
    ) -> None:
        self._traffic = traffic
        self._table = table
        self._name = name
        self._builds = Builds()
        self._ear = Ear(name, self._told)
        self._figures: Figures | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Listen to the other gateways, where there are any."""
        await self._ear.start()

    def stop(self) -> None:
        """Listen no more."""
        self._ear.stop()

    async def answer(self, exchange: Exchange) -> None:
        """The metrics as text; 401 without the token."""
        if not may_read(exchange.raw_headers):
            await _refuse(exchange)
            return
        async with self._turn:  # one scrape at a time takes the interpreter's time
            await self._refresh()
            body = await asyncio.to_thread(self._render)
        headers = [
            ("content-type", CONTENT_TYPE_PLAIN_0_0_4),
            _NO_STORE,
            ("content-length", str(len(body))),
        ]
        await exchange.answer(200, headers, body)

    async def _refresh(self) -> None:
        """Have fresh figures, or none if that takes too long."""
        if self._reading is None:
            if time.monotonic() - self._read_at < FRESH:
                return
            self._reading = asyncio.create_task(self._read())
        done, _ = await asyncio.wait([self._reading], timeout=PATIENCE)
        if not done:
            self._figures = None

    async def _read(self) -> None:
        try:
            self._figures = await asyncio.to_thread(self._ask_database)
        finally:
            self._read_at = time.monotonic()
            self._reading = None

    def _ask_database(self) -> Figures | None:
        try:
            self._builds.look()
            return figures.read()
        except (DatabaseError, OSError) as error:
            log.warning("metrics go without the database's figures: %s", error)
            return None
        finally:
            connection.close()

    def _render(self) -> bytes:
        gateways = [self._told(), *siblings.ask(self._name)]
        return generate_latest(Scrape(gateways, self._figures, self._builds))

    def _told(self) -> Told:
        """What this gateway has counted of the functions that are served now."""
        shown: dict[tuple[str, str], Reading] = {}
        left_out = 0
        table = self._table()
        for counts in self._traffic.all():
            if not counts.is_served(table):
                continue
            if len(shown) == FUNCTIONS_MAX:
                left_out += 1
            else:
                shown[counts.route.namespace, counts.route.path] = counts.read()
        return Told(self._name, os.getpid(), shown, left_out)


async def _refuse(exchange: Exchange) -> None:
    body = b"/metrics needs its token: `manage.py scrape_config` prints it.\n"
    length = ("content-length", str(len(body)))
    challenge = ("www-authenticate", "Bearer")
    await exchange.answer(401, [_TEXT, _NO_STORE, challenge, length], body)


def may_read(headers: RawHeaders) -> bool:
    """Whether the token was sent."""
    token = settings.ZERVERLESS_METRICS_TOKEN
    scheme, _, given = first_raw(headers, b"authorization").partition(" ")
    if not token or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
