"""`network: egress`: the internet, and nothing that is private."""

from __future__ import annotations

import json
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime import engine, threads
from runtime.bridges import Bridges
from runtime.errors import FunctionFailed
from runtime.instance import Instance
from runtime.route import Route
from runtime.starter import Starter
from tests.fixtures.functions import docker, image_of
from tests.fixtures.servers import ask, route
from tests.fixtures.starters import in_an_installation, with_starter

# What stands for the internet: an address for documentation (RFC 5737), here.
OUTSIDE = "198.51.100.7"
PRIVATE = "10.231.77.7"
PROGRAM = r"""
import http.server, json, os, socket

def tcp(host, port):
    try:
        with socket.create_connection((host, int(port)), 2) as there:
            return there.recv(100).decode()
    except OSError as error:
        return type(error).__name__ + " " + str(error.errno)

def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.sendto(b"which address?", (host, int(port)))
        except OSError as error:
            return type(error).__name__ + " " + str(error.errno)
    return ""

def unguard():
    # RTM_DELRULE of every rule with a table of its own: linux/rtnetlink.h
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        body = bytes([2, 0, 0, 0, 100, 0, 0, 1, 0, 0, 0, 0])
        head = (16 + len(body)).to_bytes(4, "little") + (33).to_bytes(2, "little")
        kernel.send(head + (5).to_bytes(2, "little") + bytes(8) + body)
        return int.from_bytes(kernel.recv(100)[16:20], "little", signed=True)

def name(wanted):
    try:
        return socket.gethostbyname(wanted)
    except OSError as error:
        return type(error).__name__

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        what, *words = self.path.strip("/").split("/")
        data = json.dumps(globals()[what](*words)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

def status():
    lines = open("/proc/self/status").read().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

def interfaces():
    return sorted(name for _, name in socket.if_nameindex())

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
DOCKERFILE = f"FROM python:3.11-slim\nCMD {json.dumps(['python', '-c', PROGRAM])}\n"
UNREACHABLE = "OSError 113"  # EHOSTUNREACH


class Greeter(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello from outside")


@pytest.fixture(scope="module")
def outside() -> Iterator[int]:
    """A server at all our addresses, two of which are new; its port."""
    addresses = [f"{OUTSIDE}/32", f"{PRIVATE}/32"]
    with ExitStack() as stack:
        for address in addresses:
            ip("address", "add", address, "dev", "lo")
            stack.callback(ip, "address", "del", address, "dev", "lo")
        server = socketserver.ThreadingTCPServer(("0.0.0.0", 0), Greeter)
        stack.enter_context(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        for address in ("127.0.0.1", OUTSIDE, PRIVATE):
            with socket.create_connection((address, server.server_address[1])) as one:
                assert one.recv(100) == b"hello from outside"
        yield server.server_address[1]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture(autouse=True)
def _doors(settings: Any, tmp_path: Path) -> None:
    settings.ZERVERLESS_DOORS_DIR = str(tmp_path)


def prober(network: str = "egress") -> Route:
    where = route(network=network, memory=64 << 20)
    return replace(where, image_id=image_of(DOCKERFILE))


async def told(instance: Instance, path: str) -> Any:
    return json.loads(await ask(instance, path))


def bridge_of(instance: Instance) -> dict[str, str]:
    """Addresses of an instance's sandbox and of the machine, on their bridge."""
    [found] = json.loads(docker("inspect", instance._way.network.split(":")[1]))
    [network] = found["NetworkSettings"]["Networks"].values()
    return {"own": network["IPAddress"], "gateway": network["Gateway"]}


def test_it_reaches_what_is_outside_and_nothing_private(outside: int) -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(prober())
        other = await starter.start(prober())
        bridge = await threads.run(bridge_of, instance)
        neighbour = await threads.run(bridge_of, other)
        assert await told(instance, "/interfaces") == ["eth0", "lo"]
        assert await told(instance, f"/tcp/{OUTSIDE}/{outside}") == "hello from outside"
        barred = [
            f"{bridge['gateway']}/{outside}",
            f"{PRIVATE}/{outside}",
            f"{neighbour['own']}/8080",
            "169.254.169.254/80",
            "192.168.0.1/80",
            "172.31.255.1/80",
            "100.64.0.1/80",
            "0.1.2.3/80",
            "224.0.0.1/80",
        ]
        for place in barred:
            assert await told(instance, f"/tcp/{place}") == UNREACHABLE, place
        await instance.stop()
        await other.stop()

    with_starter(run)


def test_it_cannot_take_its_guard_down(outside: int) -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(prober())
        status = await told(instance, "/status")
        assert {status[f"Cap{which}"] for which in ("Eff", "Prm", "Bnd", "Amb")} == {
            "0" * 16
        }
        assert await told(instance, "/unguard") == -1  # EPERM
        assert await told(instance, f"/tcp/{PRIVATE}/{outside}") == UNREACHABLE
        await instance.stop()

    with_starter(run)


def test_its_door_keeps_nothing_it_was_given() -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(prober())
        sandbox = instance._way.network.split(":")[1]
        pid = await threads.run(docker, "inspect", "-f", "{{.State.Pid}}", sandbox)
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        assert (status["CapEff"], status["CapPrm"]) == ("0" * 16, "0" * 16)
        assert status["Groups"].strip() == ""
        await instance.stop()

    with_starter(run)


def test_names_are_asked_for_wherever_the_name_servers_are(outside: int) -> None:
    """Those of a router or a cloud have private addresses, and the engine asks them
    from in here."""

    async def run(starter: Starter) -> None:
        instance = await starter.start(prober())
        other = await starter.start(prober())
        neighbour = await threads.run(bridge_of, other)
        # The engine's own answers: it knows who is on the bridge.
        name = other._way.network.split(":")[1]
        assert await told(instance, f"/name/{name}") == neighbour["own"]
        with socketserver.TCPServer((PRIVATE, 53), Greeter) as names:
            threading.Thread(target=names.serve_forever, daemon=True).start()
            assert await told(instance, f"/tcp/{PRIVATE}/53") == "hello from outside"
            names.shutdown()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.bind((PRIVATE, 53))
            asked.settimeout(5)
            assert await told(instance, f"/udp/{PRIVATE}/53") == ""
            assert await threads.run(asked.recv, 100) == b"which address?"
        assert await told(instance, f"/udp/{PRIVATE}/54") == UNREACHABLE
        await instance.stop()
        await other.stop()

    with_starter(run)


def test_without_it_there_is_nothing(outside: int) -> None:
    async def run(starter: Starter) -> None:
        instance = await starter.start(prober("none"))
        assert await told(instance, "/interfaces") == ["lo"]
        assert await told(instance, f"/tcp/{OUTSIDE}/{outside}") == "OSError 101"
        assert await told(instance, "/name/one.test") == "gaierror"
        await instance.stop()

    with_starter(run)


def test_an_operator_can_switch_it_off(settings: Any) -> None:
    settings.ZERVERLESS_EGRESS = False

    async def run(starter: Starter) -> None:
        with pytest.raises(FunctionFailed, match="switched off here"):
            await starter.start(prober())

    with_starter(run)


def test_a_bridge_is_no_place_for_it() -> None:
    async def run(owner: str) -> None:
        bridges = Bridges(owner)
        await bridges.open()
        with pytest.raises(FunctionFailed, match="needs a sandbox"):
            await bridges.take("a", egress=True)
        await bridges.stop()

    in_an_installation(run)


def test_the_network_goes_with_the_last_who_uses_it() -> None:
    async def run(owner: str) -> None:
        network = f"zerverless-{owner.partition('-')[0]}-egress"
        async with Starter(owner, ahead=0) as first:
            instance = await first.start(prober())
            async with Starter(f"{owner}2", ahead=0) as second:
                await (await second.start(prober())).stop()
            assert network in await threads.run(docker, "network", "ls")
            await instance.stop()
        assert network not in await threads.run(docker, "network", "ls")
        await threads.run(engine.remove_network, network)  # gone already is fine

    in_an_installation(run)
