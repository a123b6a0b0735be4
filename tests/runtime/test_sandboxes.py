"""Sandboxes and their doors: what waits ready, what is passed, and when it all ends."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any

import pytest

from runtime import engine, sandboxes, threads
from runtime.deaths import Deaths
from runtime.doors import Doors
from runtime.facts import Container
from runtime.sandboxes import Sandbox, Sandboxes
from runtime.ways import NotListening, WayLost
from tests.fixtures.functions import docker
from tests.fixtures.starters import in_an_installation, open_files

Test = Callable[["Yard"], Awaitable[None]]


class Yard:
    """The sandboxes of a gateway without instances."""

    def __init__(self, owner: str, directory: Path, ahead: int) -> None:
        self.installation = owner.partition("-")[0]
        self.directory = directory
        self.deaths = Deaths(owner)
        self.sandboxes = Sandboxes(owner, directory, self.deaths, ahead)

    def containers(self) -> list[Container]:
        return engine.list_ours(self.installation)

    async def until(self, condition: Callable[[list[Container]], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition(await threads.run(self.containers)):
                await asyncio.sleep(0.02)


def with_yard(directory: Path, test: Test, ahead: int = 0) -> None:
    async def run(owner: str) -> None:
        yard = Yard(owner, directory, ahead)
        try:
            await yard.sandboxes.open()
            await test(yard)
        finally:
            await yard.sandboxes.stop()
            yard.deaths.stop()

    in_an_installation(run)


async def connected(sandbox: Sandbox, seconds: float = 0) -> socket.socket:
    opened: socket.socket = await sandbox.open(8080, seconds)
    return opened


@asynccontextmanager
async def listening_in(sandbox: Sandbox) -> AsyncIterator[None]:
    """Something listens in a sandbox's network."""
    network = f"--network={sandbox.network}"
    server = ("busybox", "httpd", "-f", "-p", "127.0.0.1:8080")
    found = await asyncio.to_thread(docker, "run", "-d", network, *server)
    try:
        yield
    finally:
        await asyncio.to_thread(docker, "rm", "-f", found)


# -- ready ones ------------------------------------------------------------------------


def test_as_many_wait_as_were_asked_for_and_each_is_used_once(tmp_path: Path) -> None:
    async def run(yard: Yard) -> None:
        await yard.until(lambda found: len(found) == 2)
        taken = [await yard.sandboxes.take("a"), await yard.sandboxes.take("b")]
        assert taken[0].name != taken[1].name
        await yard.until(lambda found: len(found) == 4)
        for sandbox in taken:
            sandbox.discard()
        await yard.until(lambda found: len(found) == 2)
        left = {row.name for row in await threads.run(yard.containers)}
        assert not left & {sandbox.name for sandbox in taken}

    with_yard(tmp_path / "door-a", run, ahead=2)


def test_one_that_ended_while_it_waited_is_replaced(tmp_path: Path) -> None:
    async def run(yard: Yard) -> None:
        [waiting] = await threads.run(yard.containers)
        await asyncio.to_thread(docker, "kill", waiting.name)
        await yard.until(
            lambda found: len(found) == 1 and found[0].name != waiting.name
        )
        taken = await yard.sandboxes.take("a")
        assert taken.name != waiting.name
        with pytest.raises(NotListening):
            await connected(taken)
        taken.discard()

    with_yard(tmp_path / "door-a", run, ahead=1)


def test_without_any_ahead_each_is_started_when_it_is_asked_for(
    tmp_path: Path,
) -> None:
    async def run(yard: Yard) -> None:
        for name in "ab":
            (await yard.sandboxes.take(name)).discard()
            await yard.until(lambda found: not found)

    with_yard(tmp_path / "door-a", run)


def test_its_image_is_made_again_when_somebody_has_removed_it(
    tmp_path: Path, settings: Any
) -> None:
    settings.DOCKER_IMAGE_PREFIX = f"zv-test-{os.getpid()}"

    async def run(yard: Yard) -> None:
        (await yard.sandboxes.take("a")).discard()
        await yard.until(lambda found: not found)
        image = f"reference={settings.DOCKER_IMAGE_PREFIX}/door"
        [reference] = (
            await asyncio.to_thread(
                docker, "images", "-f", image, "--format", "{{.Repository}}:{{.Tag}}"
            )
        ).split()
        await asyncio.to_thread(docker, "rmi", reference)
        (await yard.sandboxes.take("b")).discard()
        await yard.until(lambda found: not found)
        await asyncio.to_thread(docker, "rmi", reference)

    with_yard(tmp_path / "door-a", run)


# -- connections -----------------------------------------------------------------------


def test_a_connection_is_there_when_something_listens(tmp_path: Path) -> None:
    async def run(yard: Yard) -> None:
        sandbox = await yard.sandboxes.take("a")
        with pytest.raises(NotListening):
            await connected(sandbox)
        waiting = [asyncio.create_task(connected(sandbox, 20)) for _ in range(2)]
        async with listening_in(sandbox):
            for opened in await asyncio.gather(*waiting):
                assert opened.getpeername() == ("127.0.0.1", 8080)
                opened.close()
        sandbox.discard()

    with_yard(tmp_path / "door-a", run)


def test_one_that_comes_when_nobody_waits_any_more_is_closed(tmp_path: Path) -> None:
    async def run(yard: Yard) -> None:
        sandbox = await yard.sandboxes.take("a")
        with pytest.raises(NotListening):
            await connected(sandbox)
        before = open_files()
        left = [asyncio.create_task(connected(sandbox, 20)) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        async with listening_in(sandbox):
            (await connected(sandbox, 20)).close()
            await asyncio.sleep(0.1)
            assert open_files() - before == set()
        sandbox.discard()

    with_yard(tmp_path / "door-a", run)


def test_more_connections_at_once_than_a_door_remembers(tmp_path: Path) -> None:
    async def run(yard: Yard) -> None:
        sandbox = await yard.sandboxes.take("a")
        tasks = [asyncio.create_task(connected(sandbox, 0.5)) for _ in range(200)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {NotListening}
        sandbox.discard()

    with_yard(tmp_path / "door-a", run)


def test_who_waits_at_a_door_that_ends_learns_so(tmp_path: Path) -> None:
    async def run(yard: Yard) -> None:
        sandbox = await yard.sandboxes.take("a")
        told: list[bool] = []
        sandbox.when_lost(lambda: told.append(True))
        waiting = asyncio.create_task(connected(sandbox, 20))
        await asyncio.to_thread(docker, "kill", sandbox.name)
        with pytest.raises(WayLost):
            await waiting
        with pytest.raises(WayLost):
            await connected(sandbox)
        assert told == [True]
        sandbox.discard()

    with_yard(tmp_path / "door-a", run)


# -- the end ---------------------------------------------------------------------------


def test_a_sandbox_ends_when_its_gateway_is_gone(tmp_path: Path) -> None:
    """As after kill -9: nobody removes it, but it runs no more."""

    async def run(yard: Yard) -> None:
        sandbox = await yard.sandboxes.take("a")
        sandbox.door._connection.shutdown(socket.SHUT_RDWR)
        await yard.until(lambda found: [row.state for row in found] == ["exited"])
        sandbox.discard()

    with_yard(tmp_path / "door-a", run)


def test_only_who_was_expected_is_let_in(tmp_path: Path) -> None:
    async def run(owner: str) -> None:
        doors = Doors(tmp_path / "door-a")
        doors.start()
        token = doors.expect()
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stranger.connect(str(tmp_path / "door-a" / "s"))
        stranger.setblocking(False)
        stranger.send(b"not it")
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(stranger, 1) == b"", "it was not sent away"
        with pytest.raises(WayLost, match="does not reach"):
            await doors.arrival(token, 0.1)
        stranger.close()
        doors.stop()
        assert not (tmp_path / "door-a").exists()

    in_an_installation(run)


def test_what_killed_gateways_left_in_the_directory_goes(tmp_path: Path) -> None:
    dead, young, alive = (tmp_path / f"door-{name}" for name in ("d", "y", "a"))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for directory in (dead, young, alive):
        directory.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(dead / "s"))
    listening.bind(str(alive / "s"))
    listening.listen(1)
    for directory in (dead, alive):
        os.utime(directory, (time() - 120, time() - 120))

    async def run(owner: str) -> None:
        doors = Doors(tmp_path / "door-new")
        doors.start()
        doors.stop()

    in_an_installation(run)
    listening.close()
    assert not dead.exists()
    assert young.exists()
    assert alive.exists()


def test_the_door_was_compiled() -> None:
    """`make test` does it; without it everything here would be shown on a bridge."""
    assert sandboxes.PROGRAM.is_file(), "run scripts/door"
