"""What functions answered is counted: nothing twice, nothing lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from runtime.histogram import BOUNDS
from runtime.route import Route
from runtime.traffic import Counts, Reading, Traffic, status_of
from tests.fixtures.traffic import route_to


def only(traffic: Traffic) -> Reading:
    [counts] = traffic.all()
    return counts.read()


def test_a_request_is_counted_by_status_and_duration() -> None:
    traffic, route = Traffic(), route_to(1)
    traffic.observe(route, 200, 0.0003)
    traffic.observe(route, 301, 0.3)
    traffic.observe(route, 503, 100)
    reading = only(traffic)
    assert (reading.answers[2], reading.answers[3], reading.answers[5]) == (1, 1, 1)
    counted = [n for n, count in enumerate(reading.durations) if count]
    assert counted == [BOUNDS.index(0.0005), BOUNDS.index(0.5), len(BOUNDS)]
    assert reading.seconds == pytest.approx(100.3003)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (200, "", "well"),
        (302, "", "well"),
        (404, "", "client"),
        (0, "", "client"),
        (499, "ZV499", "client"),
        (405, "ZV405", "client"),
        (413, "ZV413", "client"),
        (500, "", "function"),
        (503, "", "function"),
        (502, "ZV502", "function"),
        (502, "ZV502L", "function"),
        (502, "ZV502M", "function"),
        (504, "ZV504", "function"),
        (500, "ZV500", "platform"),
        (503, "ZV503", "platform"),
        (503, "ZV503S", "platform"),
        (429, "ZV429", "platform"),
    ],
)
def test_whose_error_it_was(status: int, code: str, kind: str) -> None:
    traffic = Traffic()
    traffic.observe(route_to(1), status, 0.1, code)
    reading = only(traffic)
    found = {
        "client": reading.client_errors,
        "function": reading.function_errors,
        "platform": reading.platform_errors,
    }
    assert found == {name: int(name == kind) for name in found}
    assert sum(reading.durations) == 1


def test_a_code_says_its_status() -> None:
    assert (status_of("ZV404"), status_of("ZV503B")) == (404, 503)


def test_a_cold_start_is_no_request() -> None:
    traffic = Traffic()
    traffic.cold(route_to(1), 0.9)
    reading = only(traffic)
    assert sum(reading.durations) == 0
    assert (sum(reading.cold_buckets), reading.cold_seconds) == (1, 0.9)
    assert not reading.is_empty


def test_functions_are_counted_apart_and_may_be_dropped() -> None:
    traffic = Traffic()
    traffic.observe(route_to(1), 200, 0.1)
    traffic.observe(route_to(2, "/other"), 200, 0.1)
    [first, second] = traffic.all()
    traffic.drop(first)
    assert traffic.all() == [second]
    traffic.observe(route_to(1), 200, 0.1)
    assert sum(traffic.all()[1].read().durations) == 1


def test_what_is_between_two_readings() -> None:
    traffic, route = Traffic(), route_to(1)
    traffic.observe(route, 200, 0.1)
    before = only(traffic)
    traffic.observe(route, 200, 0.2)
    traffic.observe(route, 502, 0.3, "ZV502")
    news = only(traffic).since(before)
    assert (sum(news.durations), news.answers[2], news.errors) == (2, 1, {"ZV502": 1})
    assert news.seconds == pytest.approx(0.5)
    assert before.plus(news) == only(traffic)
    assert news.since(news).is_empty


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as the interpreter lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Collector(threading.Thread):
    """Adds up what is new at each look, until it is told that nothing more will be."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.found: dict[int, Reading] = {}
        self.is_over = threading.Event()
        self._traffic = traffic
        self._seen: dict[Counts, Reading] = {}

    def run(self) -> None:
        while not self.is_over.is_set():
            self._look()
        self._look()

    def _look(self) -> None:
        for counts in self._traffic.all():
            now = counts.read()
            news = now.since(self._seen.get(counts, Reading()))
            key = counts.route.function_id
            self.found[key] = self.found.get(key, Reading()).plus(news)
            self._seen[counts] = now


def test_readers_lose_nothing_of_what_is_counted_meanwhile(restless: None) -> None:
    """As in a gateway: one thread counts a function, others read without a lock."""
    traffic = Traffic()

    def count(route: Route) -> None:
        for turn in range(20_000):
            code = "ZV429" if turn % 4 == 0 else ""
            traffic.observe(route, 200, 0.0005 * (turn % 50), code)

    routes = [route_to(number, f"/{number}") for number in range(4)]
    collector = Collector(traffic)
    collector.start()
    writers = [threading.Thread(target=count, args=[route]) for route in routes]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    collector.is_over.set()
    collector.join()
    assert len(collector.found) == 4
    for reading in collector.found.values():
        assert sum(reading.durations) == 20_000
        assert (reading.answers[2], reading.errors["ZV429"]) == (15_000, 5_000)
