"""The life of instances, in real containers, from the first request to the last."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from runtime import backoff, fleet, instances
from runtime.errors import FunctionFailed, InvocationError, Starting
from runtime.models import InstanceState
from runtime.route import Route
from runtime.routes import RouteTable
from runtime.turnover import Turnover
from tests.fixtures.functions import docker
from tests.fixtures.servers import House, ask, in_a_house, route


@pytest.fixture(autouse=True)
def _quick_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "TICK", 0.05)


async def command(*arguments: str) -> str:
    """A docker command, without holding up the loop."""
    return await asyncio.to_thread(docker, *arguments)


def test_the_first_request_starts_it_and_the_next_ones_share_it() -> None:
    async def run(house: House) -> None:
        assert await house.get(route(), "/first") == "hello /first\n"
        assert await house.get(route(), "/second") == "hello /second\n"
        [instance] = house.instances.fleets[1].ready
        assert house.containers() == {instance.name: "running"}
        assert instance.cold_ms

    in_a_house(run)


def test_more_requests_start_more_and_fewer_end_them() -> None:
    """One to four and back to none, and no request has failed."""
    where = route(idle=0.5)
    sizes: set[int] = set()

    async def client(house: House, most: int) -> None:
        while most not in sizes:
            instance = house.instances.acquire(where)
            instance = instance or await house.instances.wait(where)
            sizes.add(len(house.instances.fleets[1].ready))
            assert await ask(instance, "/x") == "hello /x\n"
            await asyncio.sleep(0.02)
            house.instances.release(instance, answered=True)

    async def run(house: House) -> None:
        async with asyncio.timeout(20):
            await client(house, 1)
            await asyncio.gather(*(client(house, 4) for _ in range(16)))
        await house.until(lambda: not house.containers())
        assert not house.instances.fleets

    in_a_house(run)


def test_a_quiet_one_is_frozen_and_the_next_request_thaws_it(settings: Any) -> None:
    settings.ZERVERLESS_PAUSE_AFTER = 0.1

    async def run(house: House) -> None:
        await house.get(route())
        [instance] = house.instances.fleets[1].ready
        await house.until(lambda: house.containers() == {instance.name: "paused"})
        assert await house.get(route(), "/again") == "hello /again\n"
        assert house.containers() == {instance.name: "running"}

    in_a_house(run)


def test_an_open_stream_keeps_it_awake(settings: Any) -> None:
    settings.ZERVERLESS_PAUSE_AFTER = 0

    async def run(house: House) -> None:
        streaming = await house.instances.wait(route(idle=0))
        await asyncio.sleep(0.3)
        assert await ask(streaming, "/still") == "hello /still\n"
        assert streaming.state is InstanceState.READY
        house.instances.release(streaming)
        await house.until(lambda: not house.containers())

    in_a_house(run)


def test_a_frozen_one_is_ended_when_it_is_idle_for_long(settings: Any) -> None:
    settings.ZERVERLESS_PAUSE_AFTER = 0

    async def run(house: House) -> None:
        await house.get(route(idle=1))
        await house.until(lambda: list(house.containers().values()) == ["paused"])
        await house.until(lambda: not house.containers())

    in_a_house(run)


def test_a_function_nobody_calls_makes_room(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three functions on memory for two; a frozen one goes as well."""
    settings.ZERVERLESS_PAUSE_AFTER = 0
    monkeypatch.setattr(fleet, "_LIFE_MIN", 0)

    async def run(house: House) -> None:
        house.instances.memory.limit = 2 * (32 << 20)
        for number in (1, 2):
            await house.get(route(number))
        await house.until(lambda: set(house.containers().values()) == {"paused"})
        assert await house.get(route(3)) == "hello /\n"
        await house.until(lambda: len(house.containers()) == 2)
        left = {one.route.deployment_id for one in house.instances.all()}
        assert left == {2, 3}

    in_a_house(run)


def test_a_crash_is_noticed_and_made_good() -> None:
    async def run(house: House) -> None:
        where = route(concurrency=1, max_instances=1)
        crashing = await house.instances.wait(where)
        waiting = asyncio.create_task(house.get(where, "/waiting"))
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(crashing, "/exit/7")
        assert await waiting == "hello /waiting\n"
        house.instances.release(crashing, broken=True)
        await house.until(lambda: len(house.containers()) == 1)
        assert crashing.name not in house.containers()

    in_a_house(run)


def test_one_killed_while_nobody_looks_is_replaced() -> None:
    async def run(house: House) -> None:
        await house.get(route())
        [killed] = house.instances.fleets[1].ready
        await command("kill", killed.name)
        await house.until(lambda: not house.instances.fleets[1].ready)
        assert await house.get(route()) == "hello /\n"

    in_a_house(run)


def test_one_removed_while_frozen_is_replaced(settings: Any) -> None:
    settings.ZERVERLESS_PAUSE_AFTER = 0

    async def run(house: House) -> None:
        await house.get(route())
        await house.until(lambda: list(house.containers().values()) == ["paused"])
        await command("rm", "--force", *house.containers())
        assert await house.get(route()) == "hello /\n"

    in_a_house(run)


def test_one_whose_sandbox_is_gone_is_replaced() -> None:
    async def run(house: House) -> None:
        await house.get(route())
        [orphan] = house.instances.fleets[1].ready
        mode = "{{.HostConfig.NetworkMode}}"
        sandbox = await command("inspect", f"--format={mode}", orphan.name)
        await command("kill", sandbox.removeprefix("container:"))
        await house.until(lambda: not house.instances.fleets[1].ready)
        assert await house.get(route()) == "hello /\n"

    in_a_house(run)


def test_one_that_takes_no_connections_is_replaced() -> None:
    """What the proxy does: a refused connection was never a request."""

    async def run(house: House) -> None:
        await house.get(route(), "/deaf")
        deaf = house.instances.acquire(route())
        assert deaf is not None
        with pytest.raises(FunctionFailed):
            await ask(deaf)
        house.instances.release(deaf, broken=True)
        assert await house.get(route()) == "hello /\n"
        await house.until(lambda: list(house.containers()) != [deaf.name])

    in_a_house(run)


def test_a_function_that_ends_at_its_start_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "FIRST", backoff.MOST)

    async def run(house: House) -> None:
        where = route(env={"EXIT_AT_START": "3"})
        requests = [house.get(where) for _ in range(4)]
        errors = await asyncio.gather(*requests, return_exceptions=True)
        assert {str(error) for error in errors} == {str(errors[0])}
        assert "exit code 3" in str(errors[0])
        for _ in range(50):
            with pytest.raises(FunctionFailed) as again:
                await house.get(where)
            assert again.value.retry_after
            assert house.instances.fleets[1].starting == 0, "a storm of starts"

    in_a_house(run)


def test_one_that_never_listens_says_so_to_who_waits(settings: Any) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 1

    async def run(house: House) -> None:
        where = route(env={"LISTEN": "never"})
        with pytest.raises((Starting, FunctionFailed)):
            await house.get(where)
        await house.until(lambda: house.instances.fleets[1].starting == 0)
        with pytest.raises(FunctionFailed, match="did not listen"):
            await house.get(where)
        await house.until(lambda: not house.containers())

    in_a_house(run)


def test_a_replaced_one_finishes_its_requests_first() -> None:
    async def run(house: House) -> None:
        old, new = route(1), route(2)
        busy = await house.instances.wait(old)
        house.instances.close(old, new)
        assert await house.get(new) == "hello /\n"
        assert await ask(busy, "/late") == "hello /late\n"
        assert len(house.containers()) == 2
        house.instances.release(busy)
        await house.until(lambda: list(house.containers()) != [busy.name])
        await house.until(lambda: len(house.containers()) == 1)

    in_a_house(run)


def test_draining_has_an_end(settings: Any) -> None:
    settings.ZERVERLESS_DRAIN = 0.2

    async def run(house: House) -> None:
        endless = await house.instances.wait(route())
        house.instances.close(endless.route)
        await house.until(lambda: not house.containers())
        house.instances.release(endless, broken=True)

    in_a_house(run)


def test_some_are_always_there() -> None:
    async def run(house: House) -> None:
        where = route(min_instances=2, idle=0)
        house.instances.keep([where])
        await house.until(lambda: len(house.instances.fleets[1].ready) == 2)
        await command("kill", house.instances.fleets[1].ready[0].name)
        await house.until(lambda: len(house.instances.fleets[1].ready) == 1)
        await house.until(lambda: len(house.instances.fleets[1].ready) == 2)

    in_a_house(run)


def test_a_deployment_every_moment_fails_no_request() -> None:
    """Threat: versions that go back. Five deployments under constant load."""
    newest = route(1)

    async def run(house: House) -> None:
        table = RouteTable()

        def use(newer: RouteTable) -> None:
            nonlocal table
            table = newer

        turnover = Turnover(house.instances, use)
        turnover.arrive(RouteTable([newest]))
        seen: list[list[int]] = []
        is_over = asyncio.Event()

        async def client() -> None:
            versions: list[int] = []
            seen.append(versions)
            while not is_over.is_set():
                versions.append(await version(house, table))
                await asyncio.sleep(0.005)

        clients = [asyncio.create_task(client()) for _ in range(4)]
        await house.until(lambda: all(seen) and len(seen) == 4)
        for number in range(2, 7):
            turnover.arrive(RouteTable([following(newest, number)]))
            await asyncio.sleep(0.5)
        await house.until(lambda: all(versions[-1] == 6 for versions in seen))
        is_over.set()
        await asyncio.gather(*clients)
        for versions in seen:
            assert versions == sorted(versions), "an older version answered again"
        await house.until(
            lambda: {one.route.number for one in house.instances.all()} == {6}
        )

    in_a_house(run)


def following(first: Route, number: int) -> Route:
    return replace(first, deployment_id=number, number=number)


async def version(house: House, table: RouteTable) -> int:
    """Which deployment answers one request that comes in now."""
    found = table.find(("alice", "server"))
    assert found is not None
    body = await house.get(found[0], "/env")
    return int(body.partition("ZERVERLESS_DEPLOYMENT=")[2].split("\n")[0])


def test_stopping_leaves_nothing_whatever_it_was_doing(settings: Any) -> None:
    """Ready, frozen, starting, and one that ignores SIGTERM; the house looks."""
    settings.ZERVERLESS_PAUSE_AFTER = 0

    async def run(house: House) -> None:
        await house.get(route(1))
        await house.until(lambda: list(house.containers().values()) == ["paused"])
        stubborn = await house.instances.wait(route(2, env={"IGNORE_TERM": "1"}))
        slow = route(3, env={"LISTEN_AFTER": "3000"})
        waiting = asyncio.create_task(house.instances.wait(slow))
        await house.until(lambda: len(house.containers()) == 3)
        await house.instances.stop()
        with pytest.raises(InvocationError):
            await waiting
        house.instances.release(stubborn)

    in_a_house(run)
