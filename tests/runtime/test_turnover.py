"""From deployment to deployment: who is in use goes on until the next one is ready."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from runtime import fleet, turnover
from runtime.errors import FunctionFailed
from runtime.route import Route
from runtime.routes import RouteTable
from runtime.turnover import Turnover
from tests.fixtures.crew import Crew, begin, newer, server, with_crew


class Tables:
    """Brings tables to a turnover, and keeps the one requests would use."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.current = RouteTable()
        self.turnover = Turnover(crew.instances, self._use)

    def _use(self, table: RouteTable) -> None:
        self.current = table

    def bring(self, *routes: Route) -> None:
        self.turnover.arrive(RouteTable(routes))

    def serving(self, path: str = "server") -> int | None:
        """The deployment that answers."""
        found = self.current.find(("alice", path))
        return found and found[0].deployment_id

    async def use(self) -> None:
        """One request from its route to its end."""
        found = self.current.find(("alice", "server"))
        assert found is not None
        instance = await self.crew.instances.wait(found[0])
        self.crew.instances.release(instance, answered=True)


@with_crew
async def test_one_in_use_answers_until_the_next_is_ready(crew: Crew) -> None:
    tables = Tables(crew)
    old, other = server(), server(7, "/other")
    tables.bring(old, other)
    await tables.use()
    crew.seconds = 0.3
    tables.bring(newer(old), newer(other))
    assert (tables.serving(), tables.serving("other")) == (1, 8)
    await crew.settle()
    assert crew.started == 2, "at once, and nothing for the one nobody uses"
    await tables.use()
    assert tables.serving() == 1
    await crew.settle(lambda: tables.serving() == 2)
    await crew.settle(lambda: len(crew.alive) == 1)
    assert [one.route for one in crew.alive] == [newer(old)]
    assert crew.instances.acquire(newer(old)) is not None


@with_crew
async def test_one_nobody_uses_is_replaced_at_once(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_LATELY", 0)
    tables = Tables(crew)
    tables.bring(server())
    await tables.use()
    tables.bring(newer(server()))
    assert tables.serving() == 2
    await crew.settle(lambda: not crew.alive)
    assert crew.started == 1, "the next request starts it"


@with_crew
async def test_requests_in_an_old_one_are_let_finish(crew: Crew) -> None:
    tables = Tables(crew)
    tables.bring(server())
    long = await crew.instances.wait(server())
    tables.bring(newer(server()))
    await crew.settle(lambda: tables.serving() == 2)
    await crew.settle()
    assert len(crew.alive) == 2
    crew.instances.release(long)
    await crew.settle(lambda: len(crew.alive) == 1)


@with_crew
async def test_one_that_does_not_get_ready_answers_after_a_while_all_the_same(
    crew: Crew, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 1
    monkeypatch.setattr(turnover, "_RETRY", 0.02)
    tables = Tables(crew)
    tables.bring(server())
    await tables.use()
    crew.fails = FunctionFailed("no")
    tables.bring(newer(server()))
    await asyncio.sleep(0.1)
    assert tables.serving() == 1
    await tables.use()
    await crew.settle(lambda: tables.serving() == 2)


@with_crew
async def test_a_failed_start_of_the_next_one_is_tried_again(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnover, "_RETRY", 0.02)
    monkeypatch.setattr("runtime.backoff.FIRST", 0.02)
    tables = Tables(crew)
    tables.bring(server())
    await tables.use()
    crew.fails = FunctionFailed("no")
    tables.bring(newer(server()))
    await crew.settle(lambda: crew.started == 2)
    crew.fails = None
    await crew.settle(lambda: tables.serving() == 2)
    assert crew.started == 3


@with_crew
async def test_one_overtaken_before_it_was_ready_never_answers(
    crew: Crew, settings: Any
) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 2
    tables = Tables(crew)
    first = server()
    second, third = newer(first), newer(newer(first))
    tables.bring(first)
    await tables.use()
    crew.seconds = 0.5
    tables.bring(second)
    await asyncio.sleep(0.05)
    seen = [tables.serving()]
    tables.bring(third)
    while seen[-1] != 3:
        seen.append(tables.serving())
        await asyncio.sleep(0.01)
    assert set(seen) == {1, 3}
    await crew.settle(lambda: [one.route for one in crew.alive] == [third])


@with_crew
async def test_however_many_follow_each_other_the_old_one_ends_in_time(
    crew: Crew, settings: Any
) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 0.3
    tables = Tables(crew)
    route = server()
    tables.bring(route)
    await tables.use()
    crew.seconds = 0.2
    for _ in range(5):
        route = newer(route)
        tables.bring(route)
        await asyncio.sleep(0.1)
    assert tables.serving() != 1


@with_crew
async def test_back_to_the_one_that_answers_ends_the_start_of_the_other(
    crew: Crew,
) -> None:
    tables = Tables(crew)
    tables.bring(server())
    await tables.use()
    crew.seconds = 0.3
    tables.bring(newer(server()))
    await crew.settle()
    tables.bring(server())
    assert tables.serving() == 1
    await asyncio.sleep(0.5)
    assert tables.serving() == 1
    await crew.settle(lambda: len(crew.alive) == 1)


@with_crew
async def test_a_retired_function_answers_no_more(crew: Crew) -> None:
    tables = Tables(crew)
    tables.bring(server(concurrency=1, max_instances=1))
    await tables.use()
    found = tables.current.find(("alice", "server"))
    assert found is not None
    held = await crew.instances.wait(found[0])
    waiting = begin(crew.instances.wait(found[0]))
    await crew.settle()
    tables.bring()
    assert tables.serving() is None
    with pytest.raises(Exception, match="replaced"):
        await waiting
    crew.instances.release(held)
    await crew.settle(lambda: not crew.alive)


@with_crew
async def test_a_server_that_becomes_something_else_is_not_held(crew: Crew) -> None:
    tables = Tables(crew)
    tables.bring(server())
    await tables.use()
    tables.bring(newer(server(), port=None))
    assert tables.serving() == 2
    await crew.settle(lambda: not crew.alive)


@with_crew
async def test_those_always_there_start_with_the_table(crew: Crew) -> None:
    tables = Tables(crew)
    kept = server(min_instances=2)
    tables.bring(kept)
    await crew.settle(lambda: len(crew.alive) == 2)
    tables.bring(newer(kept))
    await crew.settle(lambda: tables.serving() == 2)
    new = newer(kept)
    await crew.settle(lambda: [one.route for one in crew.alive] == [new, new])


@with_crew
async def test_an_unchanged_deployment_keeps_its_instances(crew: Crew) -> None:
    tables = Tables(crew)
    tables.bring(server())
    await tables.use()
    tables.bring(replace(server()), server(9, "/another"))
    await tables.use()
    assert crew.started == 1


@with_crew
async def test_a_deployment_every_moment_costs_no_request_anything(crew: Crew) -> None:
    """Each request starts where the table says, and none waits for a start."""
    tables = Tables(crew)
    route = server(concurrency=8)
    tables.bring(route)
    await tables.use()
    crew.seconds = 0.2
    seen, slowest = [1], 0.0
    for number in range(120):
        if number % 20 == 0:
            route = newer(route)
            tables.bring(route)
        began = asyncio.get_running_loop().time()
        seen.append(tables.serving() or 0)
        await tables.use()
        slowest = max(slowest, asyncio.get_running_loop().time() - began)
        await asyncio.sleep(0.02)
    assert seen == sorted(seen), "a request saw an older deployment than one before"
    assert seen[-1] >= 6
    assert slowest < crew.seconds, "a request waited for a start"
