"""The minutes of every function in the database: what was counted, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.models import Sum

from runtime import cleanup, minutes
from runtime.minutes import Minutes
from runtime.models import TrafficMinute
from runtime.routes import RouteTable
from runtime.traffic import Traffic
from tests.fixtures.traffic import NOW, make_function, make_minute, route_to

MINUTE = int(NOW // 60)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        return self.seconds


class Writer:
    """A gateway's counting, with its clock and its routes."""

    def __init__(self, *functions: Any) -> None:
        self.clock = Clock()
        self.traffic = Traffic()
        self.table = RouteTable(route_to(row.pk, row.path) for row in functions)
        self.minutes = Minutes(self.traffic, lambda: self.table, self.clock)

    def call(self, function: Any, times: int = 1, status: int = 200) -> None:
        for _ in range(times):
            self.traffic.observe(route_to(function.pk, function.path), status, 0.01)

    def turn(self, seconds: float = 60) -> None:
        self.clock.seconds += seconds
        self.minutes.collect()
        self.minutes.write()


def written() -> dict[int, int]:
    """Requests by minute, of all processes together."""
    rows = TrafficMinute.objects.order_by("minute").values("minute")
    found = rows.annotate(all=Sum("requests")).values_list("minute", "all")
    return {minute - MINUTE: count for minute, count in found}


@contextmanager
def database_away() -> Iterator[None]:
    """The table cannot be written to."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runtime_trafficminute RENAME TO away")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO runtime_trafficminute")


def test_each_minute_has_what_was_counted_in_it(db: None) -> None:
    function = make_function()
    writer = Writer(function)
    writer.call(function, 3)
    writer.turn()
    writer.turn()
    writer.call(function, 2, status=500)
    writer.turn()
    assert written() == {0: 3, 2: 2}
    first, last = TrafficMinute.objects.all()
    assert (first.function_errors, last.function_errors) == (0, 2)
    assert sum(first.durations) == 3
    assert first.seconds == pytest.approx(0.03)


def test_a_row_says_what_kind_of_answers_there_were(db: None) -> None:
    function = make_function()
    writer = Writer(function)
    route = route_to(function.pk)
    for status in (200, 301, 404, 500):
        writer.traffic.observe(route, status, 0.5)
    writer.traffic.observe(route, 504, 30.0, "ZV504")
    writer.traffic.observe(route, 503, 5.0, "ZV503B")
    writer.traffic.cold(route, 0.8)
    writer.turn()
    row = TrafficMinute.objects.get()
    assert (row.requests, row.redirects, row.client_errors) == (6, 1, 1)
    assert (row.function_errors, row.platform_errors) == (2, 1)
    assert (row.cold_starts, row.cold_seconds) == (1, 0.8)


def test_several_processes_add_up_within_a_minute(db: None) -> None:
    """Two gateways, or one that was started again."""
    function = make_function()
    for _ in range(2):
        writer = Writer(function)
        writer.call(function, 5)
        writer.turn(20)
    assert written() == {0: 10}


def test_a_minute_written_twice_counts_once(db: None) -> None:
    """Nobody knows whether a connection that broke had committed."""
    function = make_function()
    writer = Writer(function)
    writer.call(function, 5)
    reading = writer.traffic.all()[0].read()
    minutes.store(MINUTE, "w", {function.pk: reading})
    minutes.store(MINUTE, "w", {function.pk: reading})
    assert written() == {0: 5}


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_it_is_counted_and_written_later() -> None:
    function = make_function()
    writer = Writer(function)
    with database_away():
        for _ in range(3):
            writer.call(function, 4)
            writer.turn()
    assert written() == {}
    writer.minutes.write()
    assert written() == {0: 4, 1: 4, 2: 4}


@pytest.mark.django_db(transaction=True)
def test_what_waits_is_bounded_and_yet_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(minutes, "WAITING_MAX", 4)
    functions = [make_function("/a"), make_function("/b")]
    writer = Writer(*functions)
    with database_away():
        for _ in range(10):
            for function in functions:
                writer.call(function)
            writer.turn()
    writer.minutes.write()
    assert written() == {8: 18, 9: 2}


@pytest.mark.django_db(transaction=True)
def test_a_function_that_is_gone_spoils_no_other() -> None:
    """Threat 73."""
    kept, gone = make_function("/kept"), make_function("/gone")
    writer = Writer(kept, gone)
    writer.call(kept, 2)
    writer.call(gone, 3)
    gone.delete()
    writer.turn()
    assert written() == {0: 2}
    writer.call(kept)
    writer.turn()
    assert written() == {0: 2, 1: 1}


def test_a_function_that_is_no_longer_served_is_forgotten(db: None) -> None:
    function = make_function()
    writer = Writer(function)
    writer.call(function, 2)
    writer.table = RouteTable()
    writer.turn()
    assert writer.traffic.all()
    [counts] = writer.traffic.all()
    writer.turn()
    assert writer.traffic.all() == []
    # A request that was being counted at that very moment is not lost either.
    counts.durations[0] += 1
    writer.call(function)
    writer.turn()
    writer.turn()
    assert sum(written().values()) == 4
    assert writer.traffic.all() == []


def test_a_clock_set_back_overwrites_nothing(db: None) -> None:
    function = make_function()
    writer = Writer(function)
    for seconds in (60, 60, -180, 60, 60, 60):
        writer.call(function)
        writer.turn(seconds)
    assert sum(written().values()) == 6


@pytest.mark.django_db(transaction=True)
def test_the_thread_writes_the_minute_so_far_when_it_stops() -> None:
    function = make_function()
    traffic = Traffic()
    writing = Minutes(traffic, lambda: None)
    writing.start()
    for _ in range(7):
        traffic.observe(route_to(function.pk), 200, 0.01)
    writing.stop()
    assert sum(written().values()) == 7


def test_minutes_past_their_retention_go(db: None, settings: Any) -> None:
    settings.ZERVERLESS_RETENTION_TRAFFIC = 3600
    function = make_function()
    for ago in (1, 59, 62, 6000):
        make_minute(function, ago)
    rows = cleanup._old_rows()["minutes of traffic"]
    assert rows.count() == 2
    rows.delete()
    assert TrafficMinute.objects.count() == 2
