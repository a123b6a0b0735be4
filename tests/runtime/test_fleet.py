"""Who gets an instance, who waits, who is sent away. Counting needs no containers."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from runtime import backoff, fleet, instances
from runtime.errors import (
    ContainerEngineError,
    FunctionFailed,
    InvocationError,
    NoFreeInstance,
    NoRoute,
    Starting,
    TooManyRequests,
    Unavailable,
)
from runtime.instances import Instances
from runtime.models import InstanceState
from tests.fixtures.crew import Crew, begin, newer, server, with_crew

MEBIBYTE = 1 << 20


@with_crew
async def test_the_first_request_waits_for_a_start_and_the_next_finds_it(
    crew: Crew,
) -> None:
    route = server()
    assert crew.instances.acquire(route) is None
    first = await crew.instances.wait(route)
    assert first.in_flight == 1
    second = crew.instances.acquire(route)
    assert second is first
    assert crew.instances.acquire(route) is None, "two slots, no more"
    assert crew.started == 1


@with_crew
async def test_the_one_with_most_room_is_taken(crew: Crew) -> None:
    route = server(concurrency=3)
    taken = await asyncio.gather(*(crew.instances.wait(route) for _ in range(4)))
    one, other = crew.instances.fleets[1].ready
    assert (one.in_flight, other.in_flight) == (3, 1)
    assert crew.instances.acquire(route) is other
    for instance in taken:
        crew.instances.release(instance)
    assert (one.in_flight, other.in_flight) == (0, 1)


@with_crew
async def test_as_many_start_as_the_demand_wants_and_no_more_than_allowed(
    crew: Crew,
) -> None:
    crew.seconds = 0.3
    waiting = [begin(crew.instances.wait(server(max_instances=3))) for _ in range(5)]
    await crew.settle()
    assert crew.instances.fleets[1].starting == 3, "five requests, two at once"
    await asyncio.gather(*waiting)
    more = [begin(crew.instances.wait(server(max_instances=3))) for _ in range(9)]
    await crew.settle()
    assert crew.started == 3
    for task in more:
        task.cancel()


@with_crew
async def test_who_came_first_is_served_first(crew: Crew) -> None:
    route = server(concurrency=1, max_instances=1)
    held = await crew.instances.wait(route)
    served: list[int] = []

    async def request(number: int) -> None:
        instance = await crew.instances.wait(route)
        served.append(number)
        await asyncio.sleep(0)
        crew.instances.release(instance)

    requests = [begin(request(number)) for number in range(20)]
    await crew.settle()
    crew.instances.release(held)
    assert crew.instances.acquire(route) is None, "nobody overtakes who waits"
    await asyncio.gather(*requests)
    assert served == list(range(20))


@with_crew
async def test_who_leaves_the_line_leaves_no_trace(crew: Crew) -> None:
    route = server(concurrency=1, max_instances=1)
    held = await crew.instances.wait(route)
    gone, stays = (begin(crew.instances.wait(route)) for _ in range(2))
    await crew.settle()
    gone.cancel()
    await crew.settle()
    assert len(crew.instances.fleets[1].line) == 1
    crew.instances.release(held)
    assert (await stays) is held
    assert held.in_flight == 1


@with_crew
async def test_a_slot_given_to_one_who_has_just_left_goes_on(crew: Crew) -> None:
    route = server(concurrency=1, max_instances=1)
    held = await crew.instances.wait(route)
    gone, stays = (begin(crew.instances.wait(route)) for _ in range(2))
    await crew.settle()
    crew.instances.release(held)  # handed to the first, whose task has not run yet
    gone.cancel()
    assert (await stays) is held
    assert held.in_flight == 1


@with_crew
async def test_a_line_that_is_too_long_refuses(crew: Crew, settings: Any) -> None:
    settings.ZERVERLESS_INSTANCE_QUEUE = 2
    crew.seconds = 0.2
    waiting = [begin(crew.instances.wait(server())) for _ in range(2)]
    await crew.settle()
    with pytest.raises(TooManyRequests) as refused:
        await crew.instances.wait(server())
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    for task in waiting:
        task.cancel()
    await crew.settle()
    assert not crew.instances.fleets[1].line


@with_crew
async def test_patience_has_an_end_while_starting(crew: Crew, settings: Any) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 0.05
    crew.seconds = 0.3
    with pytest.raises(Starting) as late:
        await crew.instances.wait(server())
    assert (late.value.code, late.value.status) == ("ZV503S", 503)
    assert late.value.retry_after
    assert not crew.instances.fleets[1].line
    await crew.settle(lambda: bool(crew.instances.fleets[1].ready))


@with_crew
async def test_patience_has_an_end_while_all_are_busy(
    crew: Crew, settings: Any
) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 0.05
    route = server(concurrency=1, max_instances=1)
    await crew.instances.wait(route)
    with pytest.raises(NoFreeInstance) as late:
        await crew.instances.wait(route)
    assert late.value.code == "ZV503B"
    assert late.value.retry_after


@with_crew
async def test_a_failed_start_is_told_to_all_and_not_tried_at_once(crew: Crew) -> None:
    crew.fails = FunctionFailed("It ended with exit code 1.")
    crew.seconds = 0.01
    waiting = [begin(crew.instances.wait(server())) for _ in range(2)]
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in errors] == ["It ended with exit code 1."] * 2
    assert errors[0] is not errors[1], "each has a trace of its own"
    for _ in range(20):
        with pytest.raises(FunctionFailed) as again:
            await crew.instances.wait(server())
        assert again.value.retry_after == 1
    assert crew.started == 1, "a storm of starts"


@with_crew
async def test_after_a_while_it_is_tried_again(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.05)
    crew.fails = FunctionFailed("no")
    with pytest.raises(FunctionFailed):
        await crew.instances.wait(server())
    crew.fails = None
    await asyncio.sleep(0.06)
    assert (await crew.instances.wait(server())).in_flight == 1


@with_crew
async def test_a_bug_in_a_start_leaves_nobody_waiting(crew: Crew) -> None:
    crew.fails = RuntimeError("a bug")
    with pytest.raises(Unavailable):
        await crew.instances.wait(server())
    assert not crew.instances.memory.used


@with_crew
async def test_an_engine_that_is_away_is_not_the_functions_fault(crew: Crew) -> None:
    crew.fails = ContainerEngineError("dial unix: no such file")
    with pytest.raises(Unavailable) as error:
        await crew.instances.wait(server())
    assert "unix" not in str(error.value)


@with_crew
async def test_a_failed_start_spares_those_a_ready_one_will_serve(crew: Crew) -> None:
    route = server(concurrency=1)
    held = await crew.instances.wait(route)
    crew.fails = FunctionFailed("no")
    waiting = begin(crew.instances.wait(route))
    await crew.settle(lambda: crew.started == 2)
    await crew.settle()
    assert not waiting.done()
    crew.instances.release(held)
    assert (await waiting) is held


def test_the_time_between_tries_doubles_up_to_a_limit() -> None:
    tries = backoff.Backoff()
    now, waits = 100.0, []
    for _ in range(9):
        tries.failed(FunctionFailed("no"), now)
        error = tries.error(now)
        assert error is not None
        waits.append(error.retry_after)
        assert not tries.is_over(now)
        now += waits[-1] or 0
        assert tries.is_over(now)
    assert waits == [1, 1, 2, 4, 8, 16, 30, 30, 30]
    tries.failed(FunctionFailed("no"), now + 100)
    assert tries.is_over(now + 100.6), "long ago is forgotten"


def test_several_that_fail_together_count_once() -> None:
    tries = backoff.Backoff()
    for _ in range(4):
        tries.failed(FunctionFailed("no"), 100.0)
    assert tries.is_over(100.5)


def test_one_crash_may_be_chance_a_second_is_not() -> None:
    tries = backoff.Backoff()
    tries.crashed(FunctionFailed("no"), 100.0)
    assert tries.is_over(100.0)
    tries.crashed(FunctionFailed("no"), 101.0)
    assert not tries.is_over(101.0)


@with_crew
async def test_one_that_answers_nothing_in_a_row_is_replaced(crew: Crew) -> None:
    route = server(concurrency=1, max_instances=1)
    wedged = await crew.instances.wait(route)
    for _ in range(instances.WEDGED - 1):
        crew.instances.release(wedged, answered=False)
        assert crew.instances.acquire(route) is wedged
    crew.instances.release(wedged, answered=True)
    for _ in range(instances.WEDGED):
        assert crew.instances.acquire(route) is wedged
        crew.instances.release(wedged, answered=False)
    assert crew.instances.acquire(route) is None
    assert (await crew.instances.wait(route)) is not wedged


@with_crew
async def test_a_broken_one_is_given_to_nobody_who_waits(crew: Crew) -> None:
    route = server(concurrency=1, max_instances=1)
    broken = await crew.instances.wait(route)
    waiting = begin(crew.instances.wait(route))
    await crew.settle()
    crew.instances.release(broken, broken=True)
    assert (await waiting) is not broken
    await crew.settle(lambda: len(crew.alive) == 1)


@with_crew
async def test_the_requests_of_a_broken_one_are_let_finish(crew: Crew) -> None:
    route = server()
    broken = await crew.instances.wait(route)
    assert crew.instances.acquire(route) is broken
    crew.instances.release(broken, broken=True)
    await crew.settle()
    assert broken.state is InstanceState.ENDING
    assert len(crew.alive) == 1
    crew.instances.release(broken)
    await crew.settle(lambda: not crew.alive)


@with_crew
async def test_draining_has_an_end(crew: Crew, settings: Any) -> None:
    settings.ZERVERLESS_DRAIN = 0.05
    endless = await crew.instances.wait(server())
    crew.instances.close(endless.route)
    await crew.settle()
    assert len(crew.alive) == 1
    await crew.settle(lambda: not crew.alive)
    crew.instances.release(endless)  # the proxy notices a little later


@with_crew
async def test_what_cannot_be_stopped_is_tried_again(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.leaving._AGAIN", 0.01)
    crew.fails_to["stop"] = ContainerEngineError("away")
    crew.instances.release(await crew.instances.wait(server()), broken=True)
    await crew.settle(lambda: crew.acts.count("stop") > 2)
    assert crew.instances.memory.used, "its memory is not free yet"
    del crew.fails_to["stop"]
    await crew.settle(lambda: not crew.instances.memory.used)


async def rest(crew: Crew, number: int = 1) -> None:
    """Let the clock tick once for a fleet."""
    crew.instances.fleets[number].rest(monotonic())
    await crew.settle()


@with_crew
async def test_quiet_ones_are_paused_and_a_request_wakes_one(
    crew: Crew, settings: Any
) -> None:
    settings.ZERVERLESS_PAUSE_AFTER = 0.3
    route = server()
    instance = await crew.instances.wait(route)
    states = []
    for seconds in (0.35, 0, 0.35):
        await asyncio.sleep(seconds)
        await rest(crew)
        states.append(instance.state.value)
        if len(states) == 1:
            crew.instances.release(instance)
    assert states == ["ready", "ready", "paused"], "in use, used just now, quiet"
    assert crew.instances.acquire(route) is None, "never one that is frozen"
    assert (await crew.instances.wait(route)) is instance
    assert crew.acts == ["pause", "resume"]
    assert crew.started == 1


@with_crew
async def test_a_request_in_the_middle_of_pausing_gets_it_back(
    crew: Crew, settings: Any
) -> None:
    settings.ZERVERLESS_PAUSE_AFTER = 0
    instance = await crew.instances.wait(server())
    crew.instances.release(instance)
    crew.instances.fleets[1].rest(monotonic())
    assert instance.state is InstanceState.PAUSING
    assert (await crew.instances.wait(server())) is instance
    assert crew.acts == ["pause", "resume"]


@pytest.mark.parametrize("error", [ContainerEngineError("no"), RuntimeError("a bug")])
@pytest.mark.parametrize("what", ["pause", "resume"])
def test_one_that_cannot_be_paused_or_resumed_is_replaced(
    what: str, error: Exception, settings: Any
) -> None:
    @with_crew
    async def run(crew: Crew) -> None:
        settings.ZERVERLESS_PAUSE_AFTER = 0
        bad = await crew.instances.wait(server())
        crew.instances.release(bad)
        crew.fails_to[what] = error
        await rest(crew)
        assert (await crew.instances.wait(server())) is not bad
        await crew.settle(lambda: len(crew.alive) == 1)

    run()


@with_crew
async def test_after_minutes_it_is_given_up_and_forgotten(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "TICK", 0.01)
    crew.instances.release(await crew.instances.wait(server(idle=0.02)))
    await crew.settle(lambda: not crew.alive and not crew.instances.fleets)
    assert not crew.instances.memory.used
    await asyncio.sleep(0.02)
    assert crew.instances._ticking is None, "with nothing there the clock stands still"


@with_crew
async def test_some_are_always_there_and_awake(crew: Crew, settings: Any) -> None:
    settings.ZERVERLESS_PAUSE_AFTER = 0
    route = server(min_instances=2, idle=0)
    crew.instances.keep([route])
    await crew.settle(lambda: len(crew.instances.fleets[1].ready) == 2)
    await rest(crew)
    assert [one.state for one in crew.alive] == [InstanceState.READY] * 2
    crew.instances.release(await crew.instances.wait(route), broken=True)
    await crew.settle(lambda: len(crew.instances.fleets[1].ready) == 2)


def small(crew: Crew, amount: int) -> Instances:
    """Memory for so many instances of the usual size."""
    crew.instances.memory.limit = amount * 256 * MEBIBYTE
    return crew.instances


@with_crew
async def test_the_least_recently_used_makes_room(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_LIFE_MIN", 0)
    house = small(crew, 2)
    old, new = [await house.wait(server(number)) for number in (1, 2)]
    house.release(new)
    house.release(old)  # so that the one started first was used last
    await house.wait(server(3))
    left = {one.route.deployment_id for one in crew.instances.all()}
    assert left == {1, 3}


@with_crew
async def test_with_nothing_idle_one_waits_for_memory(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_LIFE_MIN", 0)
    house = small(crew, 1)
    busy = await house.wait(server(1))
    waiting = begin(house.wait(server(2)))
    await crew.settle()
    assert crew.started == 1
    house.release(busy)
    assert (await waiting).route == server(2)
    assert house.memory.used == 256 * MEBIBYTE


@with_crew
async def test_waiting_for_memory_has_an_end(crew: Crew, settings: Any) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 0.05
    house = small(crew, 1)
    await house.wait(server(1))
    with pytest.raises(NoFreeInstance, match="memory"):
        await house.wait(server(2))


@with_crew
async def test_nobody_is_ended_for_room_that_would_not_do(
    crew: Crew, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 0.05
    monkeypatch.setattr(fleet, "_LIFE_MIN", 0)
    house = small(crew, 2)
    await house.wait(server(1))
    house.release(await house.wait(server(2)))
    with pytest.raises(NoFreeInstance):
        await house.wait(server(3, memory=512 * MEBIBYTE))
    with pytest.raises(Unavailable, match="more memory than"):
        await house.wait(server(4, memory=1024 * MEBIBYTE))
    assert len(crew.alive) == 2


@with_crew
async def test_those_always_there_are_not_ended_for_others(
    crew: Crew, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 0.05
    monkeypatch.setattr(fleet, "_LIFE_MIN", 0)
    house = small(crew, 1)
    house.keep([server(1, min_instances=1)])
    await crew.settle(lambda: len(crew.alive) == 1)
    with pytest.raises(NoFreeInstance):
        await house.wait(server(2))


@with_crew
async def test_a_crash_is_replaced_for_those_who_wait(crew: Crew) -> None:
    route = server(concurrency=1, max_instances=1)
    crashed = await crew.instances.wait(route)
    waiting = begin(crew.instances.wait(route))
    await crew.settle()
    crashed.fleet.died(crashed, FunctionFailed("It ended."))
    assert (await waiting) is not crashed
    crew.instances.release(crashed, broken=True)  # its request finds out, too
    await crew.settle(lambda: len(crew.alive) == 1)


@with_crew
async def test_who_waits_goes_over_to_the_next_deployment(crew: Crew) -> None:
    old = server(concurrency=1, max_instances=1)
    held = await crew.instances.wait(old)
    waiting = [begin(crew.instances.wait(old)) for _ in range(2)]
    await crew.settle()
    crew.instances.close(old, newer(old, concurrency=5))
    assert [(await one).route.deployment_id for one in waiting] == [2, 2]
    assert len(crew.alive) == 2, "its request may finish"
    crew.instances.release(held)
    await crew.settle(lambda: len(crew.alive) == 1)


@with_crew
async def test_an_older_route_leads_to_what_answers_now(crew: Crew) -> None:
    old = server()
    crew.instances.successor = newer
    assert (await crew.instances.wait(old)).route == newer(old)
    crew.instances.successor = lambda route: None
    with pytest.raises(NoRoute):
        await crew.instances.wait(old)
    crew.instances.successor = lambda route: newer(route, port=None)
    with pytest.raises(Unavailable):
        await crew.instances.wait(old)


@with_crew
async def test_stopping_ends_all_of_it_and_sends_away_who_waits(crew: Crew) -> None:
    busy = await crew.instances.wait(server(1, concurrency=1, max_instances=1))
    crew.seconds = 0.3
    waiting = [begin(crew.instances.wait(server(number))) for number in (1, 2)]
    await crew.settle()
    await crew.instances.stop()
    assert crew.alive == []
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, InvocationError) for error in errors), errors
    crew.instances.release(busy)
    with pytest.raises(Unavailable):
        await crew.instances.wait(server(3))
