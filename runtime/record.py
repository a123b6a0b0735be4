"""Invocation rows, written in batches by a thread of its own.

The hot path only appends to a bounded queue. While the database is away rows wait
there; when it is full, new ones are dropped and counted: a lost row costs less than a
gateway that runs out of memory.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from datetime import datetime, timedelta
from itertools import islice

from django.db import DatabaseError, DataError, IntegrityError, connection, transaction

from applications.redact import redact
from runtime.invoke import Answer, Request
from runtime.models import Invocation
from runtime.proxy import FunctionRelay
from runtime.route import Route

log = logging.getLogger(__name__)

BATCH = 200
INTERVAL = 0.5
QUEUE_MAX = 2000
SAMPLES = 5  # rows a second of one function, and as many of its failures
_FAILURE = 500
_PATH_MAX = 500
# In the names of parameters whose values let somebody in: of sessions, of OAuth, of
# signed addresses.
_SECRET_NAMES = (
    *("token", "secret", "passw", "pwd", "key", "sig", "auth", "code", "session"),
    *("sid", "credential", "state", "assertion", "jwt"),
)
_ERROR_MAX = 500
_STDERR_MAX = 64 * 1024


def row(
    route: Route,
    request: Request,
    answer: Answer,
    started_at: datetime,
    duration_ms: float,
) -> Invocation:
    """The row for one request: no bodies, no credentials, fit for both databases."""
    record, error = answer.record, answer.error
    return Invocation(
        id=request.id,
        function_id=route.function_id,
        deployment_id=route.deployment_id,
        started_at=started_at,
        method=request.method,
        path=_target(request.raw_path, request.query),
        status=answer.status,
        error_code=error.code if error else "",
        error=storable(redact(error.message), _ERROR_MAX) if error else "",
        duration_ms=round(duration_ms, 3),
        phases=record.phases,
        exit_code=record.exit_code,
        request_bytes=len(request.body),
        response_bytes=len(answer.body),
        stderr=storable(redact(record.stderr), _STDERR_MAX),
    )


def relayed_row(relay: FunctionRelay, ended_at: datetime, seconds: float) -> Invocation:
    """The row for one request to a server function."""
    exchange, route, error = relay.exchange, relay.place.route, relay.error
    return Invocation(
        id=exchange.id,
        function_id=route.function_id,
        deployment_id=route.deployment_id,
        started_at=ended_at - timedelta(seconds=seconds),
        method=exchange.method,
        path=_target(
            exchange.raw_path.decode("latin-1"), exchange.raw_query.decode("latin-1")
        ),
        status=exchange.status,
        error_code=error.code if error else "",
        error=storable(redact(error.message), _ERROR_MAX) if error else "",
        duration_ms=round(seconds * 1000, 3),
        phases=relay.phases,
        request_bytes=relay.received,
        response_bytes=exchange.sent,
    )


def _target(path: str, query: str) -> str:
    """What was asked for, with its query; no value of a parameter that is a secret."""
    # Cut first: this runs for every request, and a query may be 8 KiB long.
    parameters = query[:_PATH_MAX].split("&")
    shown = "&".join(map(_without_secret, parameters))
    return storable(redact(f"{path}?{shown}" if query else path), _PATH_MAX)


def _without_secret(parameter: str) -> str:
    name, is_given, _ = parameter.partition("=")
    folded = name.casefold()
    is_secret = is_given and any(sign in folded for sign in _SECRET_NAMES)
    return f"{name}=***" if is_secret else parameter


class Sampler:
    """Which requests to server functions get a row: a few of each second, for each
    function and kind. All of them are counted; ten thousand rows a second are no help.
    """

    def __init__(self) -> None:
        self._second = 0
        self._taken: dict[tuple[int, bool], int] = {}

    def wants(self, function_id: int, status: int, now: float) -> bool:
        """Whether this one, that has ended `now`, is kept."""
        if int(now) != self._second:
            self._second = int(now)
            self._taken.clear()
        key = (function_id, status >= _FAILURE)
        taken = self._taken.get(key, 0)
        if taken >= SAMPLES:
            return False
        self._taken[key] = taken + 1
        return True


def storable(text: str, limit: int) -> str:
    """Text both databases take: no NUL, no lone surrogate, at most `limit` long."""
    cleaned = text.replace("\0", "�").encode("utf-8", "replace").decode()
    return cleaned[:limit]


class Recorder:
    """Writes the rows `put` is given; `stop` writes the rest and ends the thread."""

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: deque[Invocation] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="invocation-recorder", daemon=True
        )

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def put(self, invocation: Invocation) -> None:
        """Queue a row. Never blocks, never fails."""
        if len(self._waiting) >= QUEUE_MAX:
            self.dropped += 1
            return
        self._waiting.append(invocation)

    def stop(self, seconds: float = 5.0) -> None:
        """Write what is waiting, but do not wait for a database that is away."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(INTERVAL):
                self._write_waiting()
            self._write_waiting()
        finally:
            connection.close()

    def _write_waiting(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))
            try:
                write(batch)
            except DatabaseError:
                # The rows stay in line for the next round, the connection does not.
                log.warning("invocations cannot be written", exc_info=True)
                connection.close()
                return
            for _ in batch:
                self._waiting.popleft()
        if self.dropped:
            log.warning("%s invocations were dropped unwritten", self.dropped)
            self.dropped = 0


def write(batch: list[Invocation]) -> None:
    """Insert rows; one that cannot be (its function was deleted) spoils no other."""
    try:
        with transaction.atomic():
            Invocation.objects.bulk_create(batch)
    except (IntegrityError, DataError):
        for invocation in batch:
            _write_one(invocation)


def _write_one(invocation: Invocation) -> None:
    try:
        with transaction.atomic():
            Invocation.objects.bulk_create([invocation])
    except (IntegrityError, DataError) as error:
        log.info("invocation %s cannot be kept: %s", invocation.pk, error)
