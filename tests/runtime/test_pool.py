"""How many containers are started ahead: as many as the traffic wants, no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, cast

import pytest

from runtime import pool
from runtime.errors import ContainerEngineError
from runtime.pool import Pool, Shelf
from runtime.primed import Primed
from runtime.route import Route, RouteConfig
from tests.fixtures.functions import wait_until


class Maker:
    """Makes stand-ins for containers and counts them: no engine is needed to count."""

    def __init__(self) -> None:
        self.alive: list[Token] = []
        self.made = 0
        self.fails = False
        self.live = set(range(10))
        self.seconds = 0.0
        self.most = 0  # at the same time
        self._now = 0
        self._lock = Lock()

    def __call__(self, route: Route) -> Primed:
        if self.fails:
            raise ContainerEngineError("the engine is away")
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.made += 1
        time.sleep(self.seconds)
        token = Token(self, route.deployment_id)
        with self._lock:
            self._now -= 1
            self.alive.append(token)
        return cast(Primed, token)


class Token:
    """Looks like a Primed to the pool."""

    def __init__(self, maker: Maker, deployment: int) -> None:
        self.maker, self.deployment = maker, deployment

    def discard(self) -> None:
        self.maker.alive.remove(self)


def route(deployment: int = 1, memory: int = 256 << 20) -> Route:
    config = RouteConfig(memory=memory)
    return Route(1, deployment, 1, "alice", f"/f{deployment}", "sha256:0", "c", config)


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def started(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr(pool, "_TICK", 0.01)
    running = Pool(maker, lambda: maker.live)
    running.start()
    yield running
    running.stop()
    assert maker.alive == [], "the pool left containers behind"


def test_a_function_nobody_calls_has_none(started: Pool, maker: Maker) -> None:
    time.sleep(0.1)
    assert maker.made == 0


def test_a_call_finds_none_and_the_next_finds_one(started: Pool) -> None:
    assert started.take(route()) is None
    wait_until(lambda: started.count() > 0)
    found = started.take(route())
    assert found is not None
    found.discard()


def test_each_is_used_once_and_replaced(started: Pool, maker: Maker) -> None:
    started.take(route())
    taken = []
    for _ in range(10):
        wait_until(lambda: started.count() > 0)
        taken.append(started.take(route()))
    assert len(set(taken)) == 10
    for token in taken:
        assert token is not None
        token.discard()


def test_a_new_deployment_never_gets_an_old_ones(started: Pool) -> None:
    started.take(route(1))
    wait_until(lambda: started.count() > 0)
    assert started.take(route(2)) is None


@pytest.mark.parametrize(
    ("calls", "wanted"), [(0, 0), (1, 2), (20, 2), (21, 3), (60, 4), (500, 4)]
)
def test_the_number_follows_the_traffic(calls: int, wanted: int) -> None:
    shelf = Shelf(route())
    shelf.asked.extend([1000.0] * calls)
    assert shelf.wanted(1001.0) == wanted


def test_a_function_not_called_for_long_loses_its_own(
    started: Pool, maker: Maker, settings: Any
) -> None:
    started.take(route())
    wait_until(lambda: started.count() > 0)
    settings.ZERVERLESS_PRIMED_KEEP = 0
    wait_until(lambda: maker.alive == [])


def test_what_is_no_longer_live_is_given_up_at_once(
    started: Pool, maker: Maker
) -> None:
    started.take(route(1))
    wait_until(lambda: started.count() > 0)
    maker.live = {2}
    wait_until(lambda: maker.alive == [])
    assert started.count() == 0


def test_memory_is_a_budget_for_all(started: Pool, maker: Maker, settings: Any) -> None:
    settings.ZERVERLESS_PRIMED_MEMORY = 3 * (256 << 20)
    for deployment in range(1, 6):
        started.take(route(deployment))
    wait_until(lambda: started.count() == 3)
    time.sleep(0.1)
    assert len(maker.alive) == 3


def test_a_failing_engine_is_left_alone_for_a_while(
    started: Pool, maker: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    maker.fails = True
    for _ in range(5):
        started.take(route())
        time.sleep(0.05)
    assert caplog.text.count("the engine is away") == 1


def test_a_dead_one_takes_its_siblings_along(started: Pool, maker: Maker) -> None:
    started.take(route())
    wait_until(lambda: started.count() == 2)
    started.drop(route())
    assert maker.alive == []


def test_who_finds_none_has_one_made(started: Pool, maker: Maker) -> None:
    started.take(route(1))
    wait_until(lambda: started.count() == 2)
    made = started.make(route(2))
    assert cast(Token, made).deployment == 2
    cast(Token, made).discard()


def test_none_is_made_for_a_request_before_the_first_was_for_nobody(
    started: Pool, maker: Maker
) -> None:
    assert started.make(route()) is None
    assert maker.made == 0


def test_where_none_can_be_made_the_request_does_without(
    started: Pool, maker: Maker
) -> None:
    started.take(route(1))
    wait_until(lambda: started.count() == 2)
    maker.fails = True
    assert started.make(route(2)) is None


def test_only_a_few_are_made_at_once(started: Pool, maker: Maker) -> None:
    started.take(route(1))
    wait_until(lambda: started.count() == 2)
    maker.seconds = 0.05
    with ThreadPoolExecutor(20) as threads:
        made = list(threads.map(lambda _: started.make(route(2)), range(20)))
    assert len(set(made)) == 20
    assert maker.most == pool._AT_ONCE
    for token in made:
        cast(Token, token).discard()


def test_none_are_made_when_they_are_switched_off(maker: Maker, settings: Any) -> None:
    settings.ZERVERLESS_PRIMED_MAX = 0
    off = Pool(maker, lambda: maker.live)
    off.start()
    assert off.take(route()) is None
    off.stop()
    assert maker.made == 0
