"""Histograms of each minute in the database, for the charts; written by a thread.

When a minute ends, what was counted since the last look becomes that minute's rows. A
row belongs to one process and is written whole, so it may be written again when nobody
knows whether the last attempt got through. Several gateways, and one that was started
again within the minute, have a row each; readers add them up.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from itertools import islice

from django.db import DatabaseError, connection, transaction

from applications.models import Function
from runtime.models import TrafficMinute
from runtime.routes import RouteTable
from runtime.traffic import Counts, Reading, Traffic

log = logging.getLogger(__name__)

RETRY = 5.0
BATCH = 300
# While the database is away so many rows wait. Then minutes are put together: nothing
# is lost but the very minute it happened in.
WAITING_MAX = 20_000
_CHANGING = [
    *("requests", "redirects", "client_errors", "function_errors", "platform_errors"),
    *("cold_starts", "cold_seconds", "seconds", "durations"),
]

# By minute and the writer's name, then by function.
Waiting = dict[tuple[int, str], dict[int, Reading]]


class Minutes:
    """Writes what `traffic` counts from `start` to `stop`.

    `table` gives the routes in force, `clock` the seconds since 1970.
    """

    def __init__(
        self,
        traffic: Traffic,
        table: Callable[[], RouteTable | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._traffic = traffic
        self._table = table
        self._clock = clock
        self._seen: dict[Counts, Reading] = {}
        self._leaving: list[Counts] = []  # dropped, to be read once more
        self._waiting: Waiting = {}
        self._minute = self._now()
        self._writer = secrets.token_hex(8)
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="traffic-minutes", daemon=True
        )

    def start(self) -> None:
        """Begin; what was counted before counts for this minute."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Write the minute so far, but do not wait for a database that is away."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._pause()):
                if self._now() != self._minute:
                    self.collect()
                self.write()
            self.collect()
            self.write()
        finally:
            connection.close()

    def _pause(self) -> float:
        rest = 60 - self._clock() % 60
        return min(rest, RETRY) if self._waiting else rest

    def _now(self) -> int:
        return int(self._clock() // 60)

    # -- from the counts --------------------------------------------------------------

    def collect(self) -> None:
        """Take what was counted since the last time, as the minute that began then."""
        minute, self._minute = self._minute, self._now()
        for counts in self._leaving:
            self._take(minute, counts)
            self._seen.pop(counts, None)
        self._leaving = []
        table = self._table()
        for counts in self._traffic.all():
            if not self._take(minute, counts) and not counts.is_served(table):
                self._traffic.drop(counts)
                self._leaving.append(counts)
        self._fold()
        if self._minute < minute:
            # The clock was set back: our rows of these minutes may be there already.
            self._writer = secrets.token_hex(8)

    def _take(self, minute: int, counts: Counts) -> bool:
        """Put what is new of one function in line; False where nothing is."""
        seen, before = counts.read(), self._seen.get(counts)
        if seen == before:
            return False
        self._seen[counts] = seen
        news = seen.since(before) if before is not None else seen
        rows = self._waiting.setdefault((minute, self._writer), {})
        function_id = counts.route.function_id
        rows[function_id] = rows.get(function_id, Reading()).plus(news)
        return True

    def _fold(self) -> None:
        """Keep what waits within its bound, the latest minutes apart."""
        while len(self._waiting) > 1 and _size(self._waiting) > WAITING_MAX:
            oldest, following = list(self._waiting)[:2]
            rows = self._waiting[following]
            for function_id, reading in self._waiting.pop(oldest).items():
                rows[function_id] = rows.get(function_id, Reading()).plus(reading)

    # -- to the database --------------------------------------------------------------

    def write(self) -> None:
        """Write what waits; what cannot be written now goes on waiting."""
        for key in list(self._waiting):
            rows = self._waiting[key]
            try:
                while rows:
                    batch = dict(islice(rows.items(), BATCH))
                    store(*key, batch)
                    for function_id in batch:
                        del rows[function_id]
            except DatabaseError:
                log.warning("the traffic cannot be written yet", exc_info=True)
                connection.close()
                return
            del self._waiting[key]


@transaction.atomic
def store(minute: int, writer: str, readings: dict[int, Reading]) -> None:
    """Write one process's rows of a minute, whole; those of functions that are gone
    are left out. Raises DatabaseError."""
    known = Function.objects.filter(pk__in=readings).values_list("pk", flat=True)
    TrafficMinute.objects.bulk_create(
        [_row(pk, minute, writer, readings[pk]) for pk in known],
        update_conflicts=True,
        unique_fields=["function", "minute", "counted_by"],
        update_fields=_CHANGING,
    )


def _row(function_id: int, minute: int, writer: str, reading: Reading) -> TrafficMinute:
    return TrafficMinute(
        function_id=function_id,
        minute=minute,
        counted_by=writer,
        requests=sum(reading.durations),
        redirects=reading.answers[3],
        client_errors=reading.client_errors,
        function_errors=reading.function_errors,
        platform_errors=reading.platform_errors,
        cold_starts=sum(reading.cold_buckets),
        cold_seconds=reading.cold_seconds,
        seconds=reading.seconds,
        durations=reading.durations,
    )


def _size(waiting: Waiting) -> int:
    return sum(map(len, waiting.values()))
