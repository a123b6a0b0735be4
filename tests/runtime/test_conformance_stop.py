"""A gateway that is told to stop while it has connections of every kind: threat 73."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.fixtures.conformance import OK, Front, deploy_scripted
from tests.fixtures.gateway import Gateway, StartGateway

PATIENCE = 3.0  # seconds
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n"
)


@pytest.fixture
def front(start_gateway: StartGateway) -> Iterator[Front]:
    gateway: Gateway = start_gateway({"gateway.STOP_SECONDS": PATIENCE})
    deploy_scripted(gateway)
    yield Front("direct", gateway.port, gateway)
    gateway.stop()


def get(path: bytes, lines: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, lines)


def test_what_a_stop_means_to_each_connection(front: Front) -> None:
    process = front.gateway.process
    assert process is not None
    slow = front.script(("wait",), ("send", OK))
    tunnel = front.script(("send", SWITCH), ("drain",))
    with (
        front.client() as idle,
        front.client() as busy,
        front.client() as begun,
        front.client() as switched,
    ):
        idle.send(get(b"/alice/server")).read()
        upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
        assert switched.send(get(tunnel.path, upgrade)).read().status == 101
        busy.send(get(slow.path) + get(b"/alice/server"))
        begun.send(get(slow.path.replace(b"/run/", b"/go/"))[:-2])
        slow.until(lambda seen: bool(seen["got"]))
        began = time.monotonic()
        process.terminate()
        # At once: one that carries nothing, and one that would never end by itself
        assert idle.rest() == b""
        assert switched.rest() == b""
        # What was asked is answered, what is being asked too; nothing behind it. Had
        # those two waited for the end of the gateway's patience, these would be cut.
        for client in (begun.send(b"\r\n"), busy):
            answer = client.read()
            assert (answer.status, answer.get(b"connection")) == (200, b"close")
            assert client.rest() == b""
        assert time.monotonic() - began < PATIENCE
    assert process.wait(20) == 0


def test_what_does_not_end_is_cut(front: Front) -> None:
    """And the client sees that it is not whole."""
    process = front.gateway.process
    assert process is not None
    run = front.script(("send", b"HTTP/1.1 200 OK\r\n\r\nfirst"), ("drain",))
    with front.client() as client:
        client.send(get(run.path)).until(b"first\r\n")
        process.terminate()
        assert client.rest() == b""
    assert process.wait(30) == 0
