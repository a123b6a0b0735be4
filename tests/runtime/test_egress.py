"""`network: egress`: what a server function then reaches, and what it does not."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime import egress, engine, failure, sandboxes, threads
from runtime.errors import FunctionFailed
from runtime.instance import Instance
from runtime.route import Route
from runtime.starter import Starter
from tests.fixtures.functions import docker, image_of
from tests.fixtures.outside import PROBE_DOCKERFILE, REACHED, address, listening
from tests.fixtures.servers import ask, route
from tests.fixtures.starters import with_starter
from zerverless_site.env import REACHABLE_MAX

NO_WAY = "OSError: [Errno 113] No route to host"
# A socket that is bound to the device may not be told, one for UDP is told at once.
NOT_REACHED = {
    NO_WAY,
    "TimeoutError: timed out",
    "PermissionError: [Errno 1] Operation not permitted",
}
# To the second address by way of the first, as an option says (RFC 791, LSRR).
ROUTED = """
import socket
one = socket.socket(type=socket.SOCK_DGRAM)
hop = socket.inet_aton("203.0.113.1")
one.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 131, 7, 4]) + hop)
try:
    print(one.sendto(b"?", ("10.77.3.1", 80)))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture(autouse=True)
def _doors(settings: Any, tmp_path: Path) -> None:
    settings.ZERVERLESS_DOORS_DIR = str(tmp_path)


@pytest.fixture(scope="module")
def private() -> Iterator[tuple[str, int]]:
    with address("10.77.3") as found:
        yield found


@pytest.fixture(scope="module")
def public() -> Iterator[tuple[str, int]]:
    """An address as on the internet: of a network for documentation."""
    with address("198.51.100") as found:
        yield found


def probe(network: str = "egress") -> Route:
    plain = route(network=network, memory=64 << 20)
    return replace(plain, image_id=image_of(PROBE_DOCKERFILE))


def with_probe(test: Callable[[Instance], Awaitable[None]], network: str) -> None:
    """Run a test with an instance that tries what it is told."""

    async def run(starter: Starter) -> None:
        instance = await starter.start(probe(network))
        try:
            await test(instance)
        finally:
            await instance.stop(grace=0)

    with_starter(run)


async def inspect(name: str, of: str) -> Any:
    found = await asyncio.to_thread(docker, "inspect", "-f", f"{{{{json {of}}}}}", name)
    return json.loads(found)


async def sandbox_of(instance: Instance) -> str:
    mode = str(await inspect(instance.name, ".HostConfig.NetworkMode"))
    return mode.removeprefix("container:")


async def place_of(sandbox: str) -> dict[str, str]:
    """Where it is in its one network."""
    networks = await inspect(sandbox, ".NetworkSettings.Networks")
    [found] = networks.values()
    return dict(found)


# -- what it reaches -------------------------------------------------------------------


@pytest.mark.newer_engine
def test_it_reaches_the_internet_and_nothing_private(
    public: tuple[str, int], private: tuple[str, int]
) -> None:
    """Threat 122: the private one is of this machine, which would answer."""

    async def run(instance: Instance) -> None:
        for how in ("tcp", "bound", "udp"):
            assert await ask(instance, f"/{how}/{'/'.join(map(str, public))}") == (
                REACHED
            )
        host, port = private
        for how in ("tcp", "bound", "udp", "shout"):
            said = await ask(instance, f"/{how}/{host}/{port}")
            assert said in NOT_REACHED, how
        assert await ask(instance, f"/tcp/{host}/{port}") == NO_WAY

    with_probe(run, "egress")


OWN = """FROM busybox
CMD head -n 9 /etc/hosts | grep -m 1 function >/tmp/index.html; \\
    own=$(ip -o -4 addr show eth0 | sed 's,.* inet \\(.*\\)/.*,\\1,'); \\
    exec httpd -f -p "$own:$PORT" -h /tmp
"""


def test_a_server_that_listens_on_its_own_address_is_found() -> None:
    """As Java's getLocalHost may have it; what asks for the name finds the loopback."""

    async def run(starter: Starter) -> None:
        where = replace(route(network="egress"), image_id=image_of(OWN))
        instance = await starter.start(where)
        assert (await ask(instance)).split() == ["127.0.0.1", "function"]
        await instance.stop(grace=0)

    with_starter(run)


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.168.1.1", "192.0.0.8"],
)
def test_it_does_not_reach_where_clouds_and_networks_keep_their_own(host: str) -> None:
    """Threat 122: in place of a time-out, which would say that it was sent out."""

    async def run(instance: Instance) -> None:
        assert await ask(instance, f"/tcp/{host}/80") == NO_WAY
        assert await ask(instance, f"/bound/{host}/80") in NOT_REACHED

    with_probe(run, "egress")


def test_it_reaches_neither_its_bridge_nor_who_else_is_on_it() -> None:
    """Threat 122: a route that forbids would let a socket pass that is bound to the
    device, a broadcast too."""

    async def run(starter: Starter) -> None:
        first = await starter.start(probe())
        second = await starter.start(probe())
        here, there = [await place_of(await sandbox_of(one)) for one in (first, second)]
        assert here["NetworkID"] == there["NetworkID"]
        with listening(here["Gateway"]) as port:
            gateway = f"{here['Gateway']}/{port}"
            found = {
                f"{how} {where}": await ask(first, f"/{how}/{where}")
                for how in ("tcp", "bound")
                for where in (gateway, f"{there['IPAddress']}/8080")
            }
            assert set(found.values()) <= NOT_REACHED, found
            for where in ("255.255.255.255", "224.0.0.251"):
                assert REACHED not in await ask(first, f"/shout/{where}/{port}")
        await asyncio.gather(first.stop(grace=0), second.stop(grace=0))

    with_starter(run)


def test_a_packet_that_says_where_it_really_goes_does_not_leave() -> None:
    """Threat 122: in this namespace, by somebody whom the kernel lets try."""

    async def run(instance: Instance) -> None:
        there = f"--network=container:{await sandbox_of(instance)}"
        command = ("run", "--rm", "--cap-add=NET_RAW", there, "python:3.11-slim")
        said = await asyncio.to_thread(docker, *command, "python", "-c", ROUTED)
        assert said == "PermissionError"

    with_probe(run, "egress")


def test_nobody_reaches_it_but_through_the_door() -> None:
    """The machine itself is on the bridge too."""

    async def run(instance: Instance) -> None:
        place = await place_of(await sandbox_of(instance))

        def connect() -> None:
            socket.create_connection((place["IPAddress"], 8080), 1).close()

        with pytest.raises(TimeoutError):
            await asyncio.to_thread(connect)
        with socket.socket(type=socket.SOCK_DGRAM) as from_here:
            from_here.sendto(b"from the machine", (place["IPAddress"], 8080))
        assert await ask(instance, "/heard") == "itself"

    with_probe(run, "egress")


def test_without_egress_it_reaches_nothing(public: tuple[str, int]) -> None:
    async def run(instance: Instance) -> None:
        assert "Network is unreachable" in await ask(
            instance, f"/tcp/{public[0]}/{public[1]}"
        )
        assert "gaierror" in await ask(instance, "/name/localhost.example")
        assert "No such device" in await ask(
            instance, f"/bound/{public[0]}/{public[1]}"
        )

    with_probe(run, "none")


# -- names -----------------------------------------------------------------------------


@pytest.mark.newer_engine
def test_dockers_name_server_answers_it() -> None:
    """The only name that is known wherever this runs: that of its own sandbox."""

    async def run(instance: Instance) -> None:
        sandbox = await sandbox_of(instance)
        place, number = await place_of(sandbox), await inspect(sandbox, ".Id")
        assert await ask(instance, f"/name/{number[:12]}") == place["IPAddress"]
        assert await ask(instance, "/name/localhost") == "127.0.0.1"

    with_probe(run, "egress")


def test_names_of_the_world_are_asked_where_the_machine_asks() -> None:
    """That there is no such name is an answer; where nobody can be asked it is a
    "temporary failure"."""
    name = "zerverless.invalid"

    def here() -> str:
        try:
            return socket.gethostbyname(name)
        except socket.gaierror as error:
            return f"gaierror: {error}"

    async def run(instance: Instance) -> None:
        async with asyncio.timeout(60):  # a name server may be late once
            while await ask(instance, f"/name/{name}") != await asyncio.to_thread(here):
                await asyncio.sleep(1)

    with_probe(run, "egress")


def test_the_name_servers_of_the_engine_are_asked_for_names_only(
    monkeypatch: pytest.MonkeyPatch, private: tuple[str, int]
) -> None:
    """Most have a private address; in some clouds it is that of the metadata."""

    async def run(starter: Starter) -> None:
        with address("10.77.4", port=53) as (host, port), listening(host) as other:
            # Those of the engine cannot be chosen here; this is what it might tell.
            monkeypatch.setattr(egress, "resolvers", lambda _: [host])
            instance = await starter.start(probe())
            for how in ("tcp", "udp", "bound"):
                assert await ask(instance, f"/{how}/{host}/{port}") == REACHED
            assert await ask(instance, f"/tcp/{host}/{other}") == NO_WAY
            assert await ask(instance, f"/tcp/{private[0]}/53") == NO_WAY
            await instance.stop(grace=0)

    with_starter(run)


def test_they_are_the_ones_the_engine_gives_its_containers() -> None:
    shown = docker(
        *("run", "--rm", "--network=none", "busybox", "cat", "/etc/resolv.conf")
    )

    async def run(starter: Starter) -> None:
        instance = await starter.start(route())
        sandbox = await sandbox_of(instance)
        found = await threads.run(egress.resolvers, sandbox)
        assert found == egress.name_servers(shown)
        assert found, "this machine has no name server"
        await instance.stop(grace=0)

    with_starter(run)


def test_what_a_resolv_conf_names() -> None:
    content = """
        # nameserver 192.0.2.1
        nameserver 10.0.0.2
        nameserver 127.0.0.11
        nameserver fe80::1%eth0
        nameserver 999.1.1.1
        search example.com
        nameserver 169.254.169.254
    """
    assert egress.name_servers(content) == ["10.0.0.2", "169.254.169.254"]


# -- what an operator allows -----------------------------------------------------------


def test_what_the_operator_allows_is_reached_and_no_more(settings: Any) -> None:
    """A database on a network of one's own, by its port; a network as a whole."""

    async def run(instance: Instance) -> None:
        for how in ("tcp", "udp", "bound"):
            assert await ask(instance, f"/{how}/{host}/{port}") == REACHED
            assert await ask(instance, f"/{how}/{whole}/{any_port}") == REACHED
        assert await ask(instance, f"/tcp/{host}/{other}") == NO_WAY
        assert await ask(instance, f"/tcp/{beside}/{port}") == NO_WAY

    with (
        address("10.77.6") as (host, port),
        listening(host) as other,
        address("10.77.7", port) as (beside, _),
        address("10.77.8") as (whole, any_port),
    ):
        settings.ZERVERLESS_EGRESS_ALLOW = [f"{host}/32:{port}", "10.77.8.0/24:0"]
        with_probe(run, "egress")


def test_not_even_the_operator_opens_the_bridge(settings: Any) -> None:
    """A wide network, as of a whole company, holds the functions' own as well."""
    settings.ZERVERLESS_EGRESS_ALLOW = ["0.0.0.0/0:0"]

    async def run(instance: Instance) -> None:
        here = await place_of(await sandbox_of(instance))
        with listening(here["Gateway"]) as port:
            assert await ask(instance, f"/tcp/{here['Gateway']}/{port}") == NO_WAY

    with_probe(run, "egress")


def test_as_many_as_may_be_named_fit_into_a_guard(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = "".join(f"nameserver 10.79.0.{number}\n" for number in range(1, 99))
    monkeypatch.setattr(egress, "resolvers", lambda _: egress.name_servers(servers))
    settings.ZERVERLESS_EGRESS_ALLOW = [
        f"10.78.{number}.0/24:5432" for number in range(REACHABLE_MAX)
    ]

    async def run(instance: Instance) -> None:
        assert await ask(instance, "/tcp/10.77.3.1/5432") == NO_WAY

    with_probe(run, "egress")


# -- who may change it -----------------------------------------------------------------


@pytest.mark.newer_engine
def test_neither_the_function_nor_the_door_can_undo_it() -> None:
    """Threat 122: no capability is left to either, whoever the gateway runs as."""

    async def run(instance: Instance) -> None:
        for what in ("route", "filter"):
            assert await ask(instance, f"/{what}") == "Operation not permitted"
        status = await ask(instance, "/status")
        assert "CapBnd:\t0000000000000000" in status
        sandbox = await sandbox_of(instance)
        host = await inspect(sandbox, ".HostConfig")
        assert sorted(one.removeprefix("CAP_") for one in host["CapAdd"]) == (
            ["NET_ADMIN", "SETGID", "SETUID"]
        )
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        process = Path(f"/proc/{await inspect(sandbox, '.State.Pid')}/status")
        for kind in ("Inh", "Prm", "Eff", "Amb"):
            assert f"Cap{kind}:\t0000000000000000" in process.read_text()
        theirs = await inspect(instance.name, ".HostConfig")
        assert (theirs["CapAdd"], theirs["CapDrop"]) == (None, ["ALL"])

    with_probe(run, "egress")


def test_a_sandbox_without_its_guard_does_not_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(egress, "_CAPABILITIES", ["SETGID", "SETUID"])

    async def run(starter: Starter) -> None:
        with pytest.raises(FunctionFailed, match="Operation not permitted"):
            await starter.start(probe())

    with_starter(run)


def test_one_on_no_network_at_all_does_not_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nowhere(config: dict[str, Any], _network: str, resolvers: list[str]) -> None:
        widen(config, "none", resolvers)

    widen = egress.widen
    monkeypatch.setattr(egress, "widen", nowhere)

    async def run(starter: Starter) -> None:
        with pytest.raises(FunctionFailed, match="Network is down"):
            await starter.start(probe())

    with_starter(run)


# -- where it cannot be had ------------------------------------------------------------


def test_switched_off_it_is_not_started_any_more(settings: Any) -> None:
    settings.ZERVERLESS_EGRESS = False

    async def run(starter: Starter) -> None:
        with pytest.raises(FunctionFailed, match="ZERVERLESS_EGRESS"):
            await starter.start(probe())

    with_starter(run)


def test_on_a_bridge_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxes, "PROGRAM", Path("/no/door"))

    async def run(starter: Starter) -> None:
        with pytest.raises(FunctionFailed, match="no network: egress on this machine"):
            await starter.start(probe())
        instance = await starter.start(route())
        assert await ask(instance) == "hello /\n"
        await instance.stop(grace=0)

    with_starter(run)


def test_its_failures_are_not_laid_to_a_missing_network() -> None:
    said = b"connect: Network is unreachable"
    assert "has no network" in failure.explain(1, said, "")
    assert "has no network" not in failure.explain(1, said, "", network="egress")
    said = b"Temporary failure in name resolution"
    assert failure.explain(1, said, "", network="egress").endswith("exit code 1.")
    said = b"connect EHOSTUNREACH 10.0.0.5:5432"
    assert "private addresses" in failure.explain(1, said, "", network="egress")


# -- the network of them all -----------------------------------------------------------


def test_the_network_is_made_again_when_somebody_removes_it() -> None:
    async def run(starter: Starter) -> None:
        network = egress.network_name(starter.owner.partition("-")[0])
        for _ in range(2):
            instance = await starter.start(probe())
            sandbox = await sandbox_of(instance)
            assert await inspect(sandbox, ".HostConfig.NetworkMode") == network
            await instance.stop(grace=0)
            async with asyncio.timeout(10):
                while await threads.run(engine.state, sandbox) is not None:
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(docker, "network", "rm", network)

    with_starter(run)


def test_from_the_second_time_on_one_waits_already() -> None:
    """Docker takes long to put a container on a bridge."""

    async def run(starter: Starter) -> None:
        installation = starter.owner.partition("-")[0]

        def out() -> set[str]:
            return set(docker(*_members(egress.network_name(installation))).split())

        first = await starter.start(probe())
        used = await sandbox_of(first)
        async with asyncio.timeout(20):
            while not (waiting := await asyncio.to_thread(out) - {used}):
                await asyncio.sleep(0.1)
        second = await starter.start(probe())
        assert {await sandbox_of(second)} == waiting
        assert await ask(second, "/tcp/10.77.3.1/80") == NO_WAY
        await asyncio.gather(*(one.stop(grace=0) for one in (first, second)))

    with_starter(run, ahead=1)


def _members(network: str) -> tuple[str, ...]:
    ids = ("--no-trunc", "--format", "{{.ID}}")
    return ("ps", "--filter", f"network={network}", *ids)


def test_a_start_nobody_waits_for_any_more_leaves_nothing() -> None:
    async def run(starter: Starter) -> None:
        for milliseconds in range(0, 700, 100):
            starting = asyncio.create_task(starter.start(probe()))
            await asyncio.sleep(milliseconds / 1000)
            starting.cancel()
            await asyncio.wait([starting])
            if not starting.cancelled():
                await starting.result().stop(grace=0)

    with_starter(run)


def test_many_at_once_find_one_network() -> None:
    """Two gateways, or a gateway and a trial, may make it in the same moment."""

    async def run(starter: Starter) -> None:
        async with Starter(f"{starter.owner[:-1]}x", 0) as other:
            started = await asyncio.gather(
                *(one.start(probe()) for one in (starter, other, starter))
            )
            networks = {
                (await place_of(await sandbox_of(i)))["NetworkID"] for i in started
            }
            assert len(networks) == 1
            await asyncio.gather(*(one.stop(grace=0) for one in started))

    with_starter(run)
