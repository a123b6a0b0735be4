"""`/livez`, `/healthz` and `/readyz`: is the process there, can it serve."""

from __future__ import annotations

import asyncio
import json
import time

from runtime import engine
from runtime.errors import ContainerEngineError, Unavailable
from runtime.exchange import Exchange
from runtime.watch import Watch

_TEXT = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
_JSON = [("content-type", "application/json"), ("cache-control", "no-store")]
# Anybody may ask; the engine is asked at most this often, in seconds.
_ENGINE_INTERVAL = 5.0


async def live(exchange: Exchange) -> None:
    """200 while the process turns; says nothing about anything else."""
    await exchange.answer(200, [*_TEXT, ("content-length", "2")], b"ok")


class Readiness:
    """Whether requests can be served. Engine and workers are told, and do not count."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._engine = "unknown"
        self._asked_at = float("-inf")

    async def answer(self, exchange: Exchange) -> None:
        """200 or 503, with every check by name."""
        checks = {
            "database": "ok" if self._watch.is_database_reachable else "unreachable",
            "migrations": "ok" if self._watch.is_migrated else "pending",
            "routes": "ok" if self._watch.table is not None else "not loaded",
        }
        is_ready = set(checks.values()) == {"ok"}
        await self._ask_engine()
        others = {
            "worker": "ok" if self._watch.has_workers else "silent",
            "docker": self._engine,
        }
        document = {
            "status": "ready" if is_ready else "not ready",
            "checks": {**checks, **others},
        }
        body = json.dumps(document).encode() + b"\n"
        headers = [*_JSON, ("content-length", str(len(body)))]
        await exchange.answer(200 if is_ready else 503, headers, body)

    async def _ask_engine(self) -> None:
        if time.monotonic() - self._asked_at < _ENGINE_INTERVAL:
            return
        self._asked_at = time.monotonic()
        try:
            async with asyncio.timeout(2):
                await asyncio.to_thread(engine.ping)
        except (ContainerEngineError, Unavailable, TimeoutError):
            self._engine = "unreachable"
        else:
            self._engine = "ok"
