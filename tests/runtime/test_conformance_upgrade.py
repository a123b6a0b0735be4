"""WebSocket (RFC 6455) and whatever else leaves HTTP, to server functions.

The library `websockets` is the client, the frames come back from the function.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.frames import CloseCode
from websockets.sync.client import ClientConnection, connect

from tests.fixtures.conformance import MANY, MORE, OK, SOME, Front, Run, Table
from tests.fixtures.memory import resident
from tests.fixtures.raw_http import Arrived, RawAnswer, RawClient

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # of that key: RFC 6455 section 1.3
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % ACCEPT
)


def hello(
    path: bytes,
    protocol: bytes = b"websocket",
    connection: bytes = b"Upgrade",
    start: bytes = b"GET %b HTTP/1.1",
) -> bytes:
    """A request to leave HTTP."""
    return (
        b"%b\r\nHost: x\r\nConnection: %b\r\nUpgrade: %b\r\n"
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n\r\n"
        % (start % path, connection, protocol, KEY)
    )


@contextmanager
def tunnel(front: Front, *steps: tuple[object, ...]) -> Iterator[tuple[RawClient, Run]]:
    """A client that was let through to a function which then does `steps`."""
    run = front.script(("send", SWITCH), *steps)
    with front.client() as client:
        assert client.send(hello(run.path)).read().status == 101
        yield client, run


@contextmanager
def chat(front: Front) -> Iterator[ClientConnection]:
    run = front.script(("websocket",))
    uri = f"ws://127.0.0.1:{front.port}{run.path.decode()}"
    with connect(uri, max_size=None, compression=None) as client:
        yield client


# -- the handshake --------------------------------------------------------------------


def test_the_handshake(front: Front) -> None:
    run = front.script(("send", SWITCH), ("drain",))
    with front.client() as client:
        answer = client.send(hello(run.path + b"?room=1")).read()
    assert answer.status == 101
    assert answer.get(b"upgrade") == b"websocket"
    assert answer.get(b"connection").lower() == b"upgrade"
    assert answer.get(b"sec-websocket-accept") == ACCEPT
    assert answer.get(b"x-zerverless-function") == b"alice/server"
    assert answer.get(b"x-request-id")
    [arrived] = run.arrived
    assert arrived.line == b"GET /run/%b?room=1 HTTP/1.1" % run.name.encode()
    assert arrived.all(b"upgrade") == [b"websocket"]
    assert arrived.all(b"connection") == [b"upgrade"]
    assert arrived.all(b"sec-websocket-key") == [KEY]
    assert arrived.all(b"sec-websocket-protocol") == [b"chat"]


@pytest.mark.parametrize(
    ("protocol", "connection"),
    [
        (b"WebSocket", b"upgrade"),
        (b"websocket", b"keep-alive, Upgrade"),
        (b"websocket", b"UPGRADE, x"),
    ],
)
def test_spellings_of_the_handshake(
    front: Front, protocol: bytes, connection: bytes
) -> None:
    run = front.script(("send", SWITCH), ("drain",))
    with front.client() as client:
        client.send(hello(run.path, protocol, connection))
        assert client.read().status == 101


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 426, 503])
def test_a_function_that_declines(front: Front, status: int) -> None:
    """Its answer passes, and the connection goes on with HTTP."""
    run = front.script(("send", OK.replace(b"200", b"%d" % status)))
    with front.client() as client:
        client.send(hello(run.path))
        answer = client.read()
        assert (answer.status, answer.body, answer.error) == (status, b"ok", b"")
        assert client.goes_on


@pytest.mark.parametrize("path", [b"/alice/nobody", b"/alice/once", b"/livez"])
def test_where_there_is_nothing_to_switch_to(front: Front, path: bytes) -> None:
    with front.client() as client:
        assert client.send(hello(path)).read().status in {404, 503, 200}
        assert client.goes_on


@pytest.mark.parametrize(
    "asked",
    [
        hello(b"/alice/server", b"h2c"),
        hello(b"/alice/server", b"websocket, h2c"),
        hello(b"/alice/server", connection=b"keep-alive"),
        hello(b"/alice/server", start=b"GET %b HTTP/1.0"),
        hello(b"/alice/server", start=b"PUT %b HTTP/1.1"),
    ],
    ids=["h2c", "two", "no Connection", "HTTP/1.0", "PUT"],
)
def test_an_upgrade_that_is_ignored(table: Table, asked: bytes) -> None:
    arrived = Arrived.of(table.fronts["direct"].ask(asked).request)
    assert arrived.all(b"upgrade") == arrived.all(b"connection") == []


def switched(front: Front, head: bytes, protocol: bytes = b"websocket") -> RawAnswer:
    run = front.script(("send", head), ("drain",))
    return front.ask(hello(run.path, protocol))


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0"])
def test_a_switch_to_what_was_not_asked_for(table: Table, protocol: bytes) -> None:
    """Nor can a function switch a client that asked for something else."""
    front = table.fronts["direct"]
    wrong = SWITCH.replace(b"websocket", protocol)
    for answer in (switched(front, wrong), switched(front, SWITCH, protocol)):
        assert (answer.status, answer.error) == (502, b"ZV502")


# -- frames ---------------------------------------------------------------------------


def test_messages_come_back(front: Front) -> None:
    with chat(front) as client:
        for message in ("", "hello", "é" * 1000, b"\0\xff", os.urandom(70_000)):
            client.send(message)
            assert client.recv(20) == message
        assert client.ping(b"alive").wait(20)
    assert client.close_code == CloseCode.NORMAL_CLOSURE


def test_large_messages(front: Front) -> None:
    message = os.urandom(4 << 20)
    with chat(front) as client:
        client.send(message)
        assert client.recv(20) == message


def test_fragments_stay_fragments(front: Front) -> None:
    pieces = [b"one", b"", b"three" * 20_000, b"end"]
    with chat(front) as client:
        client.send(pieces)
        assert [one for one in client.recv_streaming() if one] == [
            one for one in pieces if one
        ]


def test_what_comes_with_the_handshake(table: Table) -> None:
    """Both sides may speak at once."""
    front = table.fronts["direct"]
    run = front.script(("send", SWITCH + b"from the function"), ("drain",))
    with front.client() as client:
        client.send(hello(run.path) + b"from the client")
        client.read()
        assert client.take(17) == b"from the function"
        seen = run.until(lambda seen: seen["got"].endswith("from the client"))
    assert seen["got"].count("GET ") == 1


# -- its end --------------------------------------------------------------------------


def test_a_function_that_ends_it(front: Front) -> None:
    with tunnel(front, ("send", b"bye"), ("close",)) as (client, _):
        assert client.rest() == b"bye"


def test_a_function_that_breaks_it_off(front: Front) -> None:
    with tunnel(front, ("count", 2), ("reset",)) as (client, _):
        client.send(b"hi")
        assert client.rest() == b""


def test_a_client_that_leaves(front: Front) -> None:
    with tunnel(front, ("drain",)) as (client, run):
        client.send(b"bye")
        run.until(lambda seen: seen["got"].endswith("bye"))
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


def test_a_client_that_ends_its_side(table: Table) -> None:
    """What the function still has to say arrives."""
    steps = (("count", 3), ("pause", 0.1), ("send", b"and this"), ("close",))
    with tunnel(table.fronts["direct"], *steps) as (client, _):
        client.send(b"bye")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == b"and this"


def test_a_function_that_ends_its_side(table: Table) -> None:
    steps = (("send", b"bye"), ("eof",), ("drain",))
    with tunnel(table.fronts["direct"], *steps) as (client, run):
        assert client.rest() == b"bye"
        client.send(b"and this")
        run.until(lambda seen: seen["got"].endswith("and this"))
    assert run.until(lambda seen: seen["end"])["end"] == "eof"


# -- back-pressure --------------------------------------------------------------------


def test_a_client_that_does_not_read(front: Front) -> None:
    """The function is held back, and nothing piles up in between."""
    before = resident(front.gateway)
    with tunnel(front, ("flood", MANY), ("close",)) as (client, run):
        sent = run.steady("sent")
        assert sent < MANY
        assert run.held(sent) < SOME
        assert resident(front.gateway) - before < MORE
        assert client.count() == MANY


def test_a_function_that_does_not_read(front: Front) -> None:
    """So is the client."""
    before = resident(front.gateway)
    with tunnel(front, ("wait",), ("count", MANY), ("send", b"all")) as (client, run):
        sent = client.fill(MANY)
        assert sent < MANY
        assert run.held(sent) < SOME
        assert resident(front.gateway) - before < MORE
        run.go()
        client.socket.sendall(bytes(MANY - sent))
        assert client.take(3) == b"all"
