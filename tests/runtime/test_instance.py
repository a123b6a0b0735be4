"""One instance of a server function: a real container behind a real door."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime import engine, threads
from runtime.errors import FunctionFailed, ImageMissing, OutOfMemory
from runtime.instance import Instance
from runtime.route import Route
from runtime.starter import Starter
from tests.fixtures.functions import docker, image_of
from tests.fixtures.servers import ask, route
from tests.fixtures.starters import exit_codes, now, with_starter

# The engine reads the two outputs in no certain order.
SAID = ["", "err: starting", "out: starting"]


@pytest.fixture(autouse=True)
def _doors(settings: Any, tmp_path: Path) -> None:
    # Longer than what an address takes.
    settings.ZERVERLESS_DOORS_DIR = str(tmp_path / ("long" * 30))


async def inspect(name: str, of: str) -> Any:
    found = await asyncio.to_thread(docker, "inspect", "-f", f"{{{{json {of}}}}}", name)
    return json.loads(found)


async def until_told(instance: Instance) -> FunctionFailed:
    """What is said when an instance ends by itself."""
    told: asyncio.Future[FunctionFailed] = asyncio.get_running_loop().create_future()
    instance.on_exit = lambda _, error: told.set_result(error)
    async with asyncio.timeout(10):
        return await told


async def failure(starter: Starter, where: Route) -> FunctionFailed:
    """Why a start failed."""
    async with asyncio.timeout(20):
        with pytest.raises(FunctionFailed) as caught:
            await starter.start(where)
    return caught.value


# -- getting ready ---------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
@pytest.mark.newer_engine
def test_it_is_ready_on_whichever_address_it_listens(address: str) -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(route(env={"LISTEN": address}))
        assert [await ask(instance, f"/{n}") for n in range(3)] == [
            "hello /0\n",
            "hello /1\n",
            "hello /2\n",
        ]
        assert set(instance.phases) == {"way", "create", "start", "ready"}
        await instance.stop()

    with_starter(run)


def test_it_is_ready_as_soon_as_it_listens(settings: Any) -> None:
    """Connections asked for before that are all there then."""

    async def run(starter: Starter) -> None:
        instance = await starter.start(route(env={"LISTEN_AFTER": "1500"}, port=1234))
        asked = [ask(instance, f"/{number}") for number in range(40)]
        answers = await asyncio.gather(*asked)
        assert answers == [f"hello /{number}\n" for number in range(40)]
        assert instance.phases["ready"] > 1000
        await instance.stop()

    with_starter(run)


def test_one_that_ends_at_its_start_says_so_at_once(settings: Any) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 60

    async def run(starter: Starter) -> None:
        error = await failure(starter, route(env={"EXIT_AT_START": "7"}))
        assert error.message == (
            "The function ended with exit code 7 before it listened on $PORT (8080)."
        )
        assert sorted(error.reason.split("\n")) == SAID
        error = await failure(starter, route(env={"EXIT_AT_START": "0"}))
        assert "exit code 0" in error.message

    with_starter(run)


def test_one_without_enough_memory_to_start_says_so() -> None:
    async def run(starter: Starter) -> None:
        error = await failure(starter, route(env={"EAT_AT_START": "1"}))
        assert isinstance(error, OutOfMemory)
        assert "more than its 32 MiB of memory" in error.message

    with_starter(run)


def test_one_that_never_listens_says_so(settings: Any) -> None:
    settings.ZERVERLESS_COLD_START_TIMEOUT = 3

    async def run(starter: Starter) -> None:
        error = await failure(starter, route(env={"LISTEN": "never"}, port=1234))
        assert error.message == (
            "The function did not listen on $PORT (1234) within 3 s."
        )
        assert "err: starting" in error.reason

    with_starter(run)


def test_an_image_that_cannot_be_started_says_why() -> None:
    async def run(starter: Starter) -> None:
        image = image_of('FROM busybox\nCMD ["/no/such/program"]')
        error = await failure(starter, replace(route(), image_id=image))
        assert "/no/such/program" in error.reason
        with pytest.raises(ImageMissing):
            await starter.start(replace(route(), image_id="sha256:" + "0" * 64))

    with_starter(run)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_start_nobody_waits_for_any_more_leaves_nothing(ahead: int) -> None:
    """Left at every stage: no container of either kind stays, nor a connection."""

    async def run(starter: Starter) -> None:
        slow = route(env={"LISTEN_AFTER": "60"})
        for milliseconds in range(0, 320, 20):
            starting = asyncio.create_task(starter.start(slow))
            await asyncio.sleep(milliseconds / 1000)
            starting.cancel()
            await asyncio.wait([starting])
            if not starting.cancelled():
                await starting.result().stop()

    with_starter(run, ahead)


# -- what it sees ----------------------------------------------------------------------


def test_its_environment_is_the_documented_one() -> None:
    async def run(starter: Starter) -> None:
        env = {"GREETING": "hi", "PORT": "1", "K_SERVICE": "x", "ZERVERLESS_X": "x"}
        where = replace(route(4, "/a/b", env=env), commit="c0ffee")
        instance = await starter.start(where)
        lines = (await ask(instance, "/env")).splitlines()
        found = dict(line.split("=", 1) for line in lines)
        assert found.pop("PATH")
        assert found == {
            "GREETING": "hi",
            "HOME": "/tmp",
            "HOSTNAME": "function",
            "PORT": "8080",
            "K_SERVICE": "alice-a-b",
            "K_CONFIGURATION": "alice-a-b",
            "K_REVISION": "v4",
            "ZERVERLESS_NAMESPACE": "alice",
            "ZERVERLESS_FUNCTION": "/a/b",
            "ZERVERLESS_DEPLOYMENT": "4",
            "ZERVERLESS_COMMIT": "c0ffee",
        }
        await instance.stop()

    with_starter(run)


PROBE = r"""
{
    grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
    echo "networks: $(ls /sys/class/net | xargs)"
    echo "routes: $(grep -v Iface /proc/net/route | wc -l)"
    echo "doors: $(ls / | grep -c -e door -e gateway) $(grep -c door /proc/mounts)"
    echo "own name: $(hostname) $(hostname -i)"
    echo "localhost: $(grep -c localhost /etc/hosts)"
    touch /x 2>/dev/null && echo "root: writable" || echo "root: read-only"
    for host in 172.17.0.1 169.254.169.254; do
        echo "$host: $(nc -w 1 $host 80 </dev/null 2>&1)"
    done
    echo "id: $(id -u):$(id -g)"
} >/tmp/index.html
exec httpd -f -p $PORT -h /tmp
"""


NOWHERE = "Network is unreachable"


@pytest.mark.newer_engine
def test_it_is_alone_and_powerless() -> None:
    """Threats 56 to 59, for a container that shares its network with our door."""

    async def run(starter: Starter) -> None:
        image = image_of(f"FROM busybox\nCMD {json.dumps(['sh', '-c', PROBE])}")
        instance = await starter.start(replace(route(), image_id=image))
        lines = (await ask(instance)).replace("\t", " ").splitlines()
        await instance.stop()
        for expected in (
            *(f"Cap{kind}: 0000000000000000" for kind in ("Prm", "Eff", "Bnd", "Amb")),
            "NoNewPrivs: 1",
            "Seccomp: 2",
            "networks: lo",
            "routes: 0",
            "doors: 0 0",
            "own name: function 127.0.0.1",
            "localhost: 2",
            "root: read-only",
            *(
                f"{host}: nc: can't connect to remote host ({host}): {NOWHERE}"
                for host in ("172.17.0.1", "169.254.169.254")
            ),
            "id: 65534:65534",
        ):
            assert expected in lines, lines

    with_starter(run)


@pytest.mark.newer_engine
def test_its_container_is_as_narrow_as_any_other() -> None:
    """What differs from one container per request: the network and a log, capped."""

    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        host = await inspect(instance.name, ".HostConfig")
        assert host["NetworkMode"].startswith("container:")
        assert host["LogConfig"] == {
            "Type": "json-file",
            "Config": {"max-size": "1m", "max-file": "1"},
        }
        assert host["Memory"] == host["MemorySwap"] == 32 << 20
        assert (host["PidsLimit"], host["NanoCpus"]) == (64, 500_000_000)
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert (host["ReadonlyRootfs"], host["Privileged"]) == (True, False)
        assert (host["Binds"], host["IpcMode"], host["PidMode"]) == (
            None,
            "private",
            "",
        )
        assert not await inspect(instance.name, ".Config.OpenStdin")
        said = await threads.run(engine.logs, instance.name, 10, times=False)
        assert sorted(said.decode().split("\n")) == SAID
        sandbox = host["NetworkMode"].removeprefix("container:")
        ours = await inspect(sandbox, ".HostConfig")
        assert (ours["NetworkMode"], ours["CapDrop"]) == ("none", ["ALL"])
        assert (ours["Memory"], ours["PidsLimit"]) == (8 << 20, 4)
        assert ours["ReadonlyRootfs"]
        assert [mount["RW"] for mount in await inspect(sandbox, ".Mounts")] == [False]
        await instance.stop()

    with_starter(run)


# -- pausing and stopping --------------------------------------------------------------


@pytest.mark.newer_engine
def test_a_frozen_one_goes_on_where_it_was() -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        await instance.pause()
        assert await inspect(instance.name, ".State.Status") == "paused"
        waiting = asyncio.create_task(ask(instance, "/soon"))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done, "it answered while it was frozen"
        await instance.resume()
        assert await waiting == "hello /soon\n"
        await instance.stop()

    with_starter(run)


@pytest.mark.parametrize(
    ("env", "frozen", "code"),
    [({}, False, 3), ({}, True, 3), ({"IGNORE_TERM": "1"}, False, 137)],
)
def test_it_is_told_to_end_and_then_ended(
    env: dict[str, str], *, frozen: bool, code: int
) -> None:
    """SIGTERM first: its exit code shows what it was told."""

    async def run(starter: Starter) -> None:
        since = now()
        instance = await starter.start(route(env=env))
        told: list[Any] = []
        instance.on_exit = lambda *end: told.append(end)
        if frozen:
            await instance.pause()
        await instance.stop(grace=0.5)
        assert exit_codes(instance.name, since) == [code]
        with pytest.raises(FunctionFailed):
            await instance.connect()
        assert told == [], "who ends it knows"

    with_starter(run)


# -- its end ---------------------------------------------------------------------------


def test_its_own_end_is_told_with_its_reason() -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        telling = asyncio.create_task(until_told(instance))
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(instance, "/exit/9")
        error = await telling
        assert error.message == "The function ended with exit code 9."
        assert sorted(error.reason.split("\n")) == SAID
        with pytest.raises(FunctionFailed):
            await instance.connect()
        await instance.stop()

    with_starter(run)


@pytest.mark.newer_engine
def test_its_end_for_memory_is_told() -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        telling = asyncio.create_task(until_told(instance))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await ask(instance, "/eat")
        error = await telling
        # The engine may miss the word of the kernel; then the signal is all it knows.
        assert isinstance(error, OutOfMemory) or "when memory runs out" in str(error)
        await instance.stop()

    with_starter(run)


def test_memory_that_a_child_of_it_wanted_is_told() -> None:
    """Threats 57 and 144: it goes on, but its connection broke without an answer."""

    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await ask(instance, "/starve")
        async with asyncio.timeout(20):
            while (why := await instance.why_ended(0.1)) is None:
                pass
        assert isinstance(why, OutOfMemory)
        assert await ask(instance) == "hello /\n"
        await instance.stop()

    with_starter(run)


@pytest.mark.parametrize("whose", ["its own", "its sandbox's"])
def test_an_end_from_outside_is_told(whose: str) -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        network = str(await inspect(instance.name, ".HostConfig.NetworkMode"))
        sandbox = network.removeprefix("container:")
        killed = instance.name if whose == "its own" else sandbox
        telling = asyncio.create_task(until_told(instance))
        await asyncio.to_thread(docker, "kill", killed)
        error = await telling
        assert ("SIGKILL" in error.message) == (whose == "its own")
        with pytest.raises(FunctionFailed):
            await instance.connect()
        await instance.stop()

    with_starter(run)


def test_a_port_that_is_closed_takes_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.instance._CONNECT_SECONDS", 0.2)

    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        assert await ask(instance, "/deaf") == "hello /deaf\n"
        with pytest.raises(FunctionFailed, match="takes no connection"):
            await instance.connect()
        await instance.stop()

    with_starter(run)


def test_a_connection_that_was_not_used_in_time_is_not_given_out() -> None:
    """Servers close one on which nothing comes; a request on it would be lost."""

    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        await asyncio.sleep(1.2)
        with closing(await instance.connect()) as fresh:
            assert fresh.getsockopt(6, 1) == 1, "TCP_NODELAY"
            assert not fresh.getblocking()
        assert await ask(instance) == "hello /\n"
        await instance.stop()

    with_starter(run)


# -- where no sandbox can be had -------------------------------------------------------


@pytest.fixture(params=["not compiled", "not shared", "not permitted"])
def no_door(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    tmp_path: Path,
) -> Iterator[None]:
    """No program for the door, or a directory that containers cannot be shown."""
    monkeypatch.chdir(tmp_path)
    mask = os.umask(0o777 if request.param == "not permitted" else 0o022)
    if request.param == "not compiled":
        monkeypatch.setattr("runtime.sandboxes.PROGRAM", Path("/no/door"))
    elif request.param == "not shared":
        settings.ZERVERLESS_DOORS_DIR = "/proc/self/cwd/ours"  # whose, depends
    yield
    os.umask(mask)


@pytest.mark.usefixtures("no_door")
def test_without_a_sandbox_it_gets_a_bridge(caplog: pytest.LogCaptureFixture) -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        assert await ask(instance, "/x") == "hello /x\n"
        network = await inspect(instance.name, ".HostConfig.NetworkMode")
        assert network == f"zerverless-{starter.owner.partition('-')[0]}-functions"
        await instance.pause()
        await instance.resume()
        telling = asyncio.create_task(until_told(instance))
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(instance, "/exit/9")
        assert "exit code 9" in (await telling).message
        await instance.stop()

    with_starter(run)
    assert "server functions get a bridge network" in caplog.text


def test_on_a_bridge_it_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr("runtime.sandboxes.PROGRAM", Path("/no/door"))

    async def run(starter: Starter) -> None:
        first = await starter.start(route())
        networks = await inspect(first.name, ".NetworkSettings.Networks")
        [address] = [one["IPAddress"] for one in networks.values()]
        probe = (
            f"for place in {address}:8080 1.1.1.1:53; do nc -w 1 ${{place%:*}} "
            "${place#*:} </dev/null && echo reached $place; done >/tmp/index.html;"
            "exec httpd -f -p $PORT -h /tmp"
        )
        image = image_of(f"FROM busybox\nCMD {json.dumps(['sh', '-c', probe])}")
        second = await starter.start(replace(route(), image_id=image))
        assert await ask(second) == ""
        settings.ZERVERLESS_COLD_START_TIMEOUT = 4
        error = await failure(starter, route(env={"LISTEN": "127.0.0.1"}))
        assert "127.0.0.1 is not enough" in error.message
        await asyncio.gather(first.stop(), second.stop())

    with_starter(run)
