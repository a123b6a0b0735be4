"""Several requests on one connection, and its end: threats 67, 69 and 72."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.fixtures.conformance import OK, Front, Table
from tests.fixtures.raw_http import Arrived

LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
SERVER, ONCE, NOBODY = b"/alice/server", b"/alice/once", b"/alice/nobody"


def get(
    path: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1"
) -> bytes:
    """A request without a body."""
    head = [b"%b %b HTTP/%b" % (method, path, version), b"Host: x", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n"


def post(path: bytes, body: bytes, *lines: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return get(path, length, *lines, method=b"POST") + body


# -- whether it goes on ---------------------------------------------------------------


@dataclass
class Row:
    version: bytes
    connection: bytes
    answer: bytes  # Connection in it
    goes_on: bool


ROWS = [
    Row(b"1.1", b"", b"", goes_on=True),
    Row(b"1.1", b"keep-alive", b"", goes_on=True),
    Row(b"1.1", b"close", b"close", goes_on=False),
    Row(b"1.1", b"CLOSE, x", b"close", goes_on=False),
    Row(b"1.1", b"keep-alive, close", b"close", goes_on=False),
    Row(b"1.0", b"", b"close", goes_on=False),
    Row(b"1.0", b"close", b"close", goes_on=False),
    Row(b"1.0", b"keep-alive", b"keep-alive", goes_on=True),
    Row(b"1.0", b"Keep-Alive", b"keep-alive", goes_on=True),
]


@pytest.mark.parametrize("path", [SERVER, ONCE, NOBODY], ids=bytes.decode)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_whether_it_goes_on(table: Table, row: Row, path: bytes) -> None:
    line = b"Connection: " + row.connection
    with table.fronts["direct"].client() as client:
        client.send(get(path, line, version=row.version))
        answer = client.read()
        assert answer.get(b"connection") == row.answer
        assert client.goes_on == row.goes_on


# -- pipelining -----------------------------------------------------------------------


def test_answers_come_in_order(front: Front) -> None:
    requests = [
        get(SERVER + b"/1"),
        post(SERVER + b"/2", b"body"),
        get(NOBODY),
        get(SERVER + b"/3", method=b"HEAD"),
        get(ONCE),
        get(SERVER + b"/4"),
        LIVE,
    ]
    methods = [request.split(b" ")[0].decode() for request in requests]
    with front.client() as client:
        client.send(b"".join(requests))
        answers = [client.read(method) for method in methods]
    assert [one.status for one in answers] == [200, 200, 404, 200, 503, 200, 200]
    lines = [Arrived.of(answers[place].request).line for place in (0, 1, 3, 5)]
    assert lines == [
        b"GET /1 HTTP/1.1",
        b"POST /2 HTTP/1.1",
        b"HEAD /3 HTTP/1.1",
        b"GET /4 HTTP/1.1",
    ]
    assert Arrived.of(answers[1].request).body == b"body"


def test_many_at_once(front: Front) -> None:
    with front.client() as client:
        client.send(b"".join(get(b"%b/%d" % (SERVER, one)) for one in range(200)))
        lines = [Arrived.of(client.read().request).line for _ in range(200)]
    assert lines == [b"GET /%d HTTP/1.1" % one for one in range(200)]


def test_too_many_at_once(table: Table) -> None:
    """Some are answered, the others refused; none is forgotten without a word."""
    with table.fronts["direct"].client() as client:
        client.send(LIVE * 20_000)
        statuses = []
        while status := client.read().status:
            statuses.append(status)
    assert len(statuses) > 1000
    assert set(statuses[:-1]) == {200}
    assert statuses[-1] == 400


def test_large_bodies_behind_each_other(front: Front) -> None:
    body = b"0123456789abcdef" * 40_000  # more than is kept for one that waits
    with front.client() as client:
        client.send(post(SERVER, body) + post(SERVER, body) + get(SERVER + b"/x"))
        for _ in range(2):
            assert Arrived.of(client.read().request).body == body
        assert Arrived.of(client.read().request).line == b"GET /x HTTP/1.1"


@pytest.mark.parametrize(
    ("nonsense", "status"), [(b"BREW / HTTP/1.1\r\n", 405), (LIVE[:-2] + b"X : y", 400)]
)
def test_nonsense_behind_requests(table: Table, nonsense: bytes, status: int) -> None:
    """What was well asked is answered first."""
    with table.fronts["direct"].client() as client:
        client.send(get(SERVER) + get(SERVER) + nonsense + b"\r\n\r\n")
        assert [client.read().status for _ in range(4)] == [200, 200, status, 0]


def test_nothing_behind_the_last_request(table: Table) -> None:
    with table.fronts["direct"].client() as client:
        client.send(get(SERVER, b"Connection: close") + get(SERVER))
        assert [client.read().status for _ in range(2)] == [200, 0]


def test_a_body_nobody_read_is_no_request(table: Table) -> None:
    inner = get(SERVER + b"/smuggled")
    with table.fronts["direct"].client() as client:
        client.send(post(NOBODY, inner)[: -len(inner)])
        assert client.read().status == 404
        client.send(inner)
        assert client.rest() == b""


# -- Upgrade that leads nowhere -------------------------------------------------------


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0", b"a, b"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d", b"Transfer-Encoding: chunked"], ids=bytes.decode
)
def test_the_body_behind_an_upgrade(
    front: Front, protocol: bytes, framing: bytes
) -> None:
    """Threat 67: it is a body, whatever is in it, and not the next request."""
    inner = get(SERVER + b"/smuggled")
    body = inner
    if b"chunked" in framing:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    else:
        framing %= len(inner)
    lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, framing)
    with front.client() as client:
        client.send(get(SERVER, *lines, b"HTTP2-Settings: x", method=b"POST"))
        client.send(body + get(SERVER + b"/next"))
        assert Arrived.of(client.read().request).body == inner
        assert Arrived.of(client.read().request).line == b"GET /next HTTP/1.1"
        assert client.goes_on


def test_a_request_behind_an_upgrade_nobody_takes(front: Front) -> None:
    line = b"Connection: Upgrade"
    with front.client() as client:
        client.send(get(SERVER + b"/1", line, b"Upgrade: h2c") * 30)
        client.send(get(SERVER + b"/2", line, b"Upgrade: websocket"))
        client.send(get(SERVER + b"/3"))
        lines = [Arrived.of(client.read().request).line for _ in range(32)]
    wanted = [b"GET /1 HTTP/1.1"] * 30 + [b"GET /2 HTTP/1.1", b"GET /3 HTTP/1.1"]
    assert lines == wanted


def test_nothing_behind_connect(table: Table) -> None:
    with table.fronts["direct"].client() as client:
        client.send(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + get(SERVER))
        assert [client.read().status for _ in range(2)] == [400, 0]


# -- Expect ---------------------------------------------------------------------------

EXPECT = b"Expect: 100-continue"


def test_a_body_that_is_asked_for(front: Front) -> None:
    with front.client() as client:
        client.send(post(SERVER, b"abc", EXPECT)[:-3])
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        answer = client.send(b"abc").read()
    assert (answer.interim, Arrived.of(answer.request).body) == ([], b"abc")


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        (NOBODY, 3, 404),
        (b"/alice/..", 3, 400),
        (SERVER, 1 << 50, 413),
        (ONCE, 1 << 30, 413),
    ],
)
def test_a_body_nobody_wants(
    table: Table, path: bytes, length: int, status: int
) -> None:
    """It is refused before it is sent."""
    with table.fronts["direct"].client() as client:
        line = b"Content-Length: %d" % length
        client.send(get(path, line, b"EXPECT: 100-Continue", method=b"POST"))
        answer = client.read()
        assert (answer.status, answer.interim) == (status, [])
        assert answer.get(b"connection") == b"close"


@pytest.mark.parametrize(
    ("line", "version"), [(EXPECT, b"1.0"), (b"Expect: more", b"1.1"), (b"", b"1.1")]
)
def test_a_body_that_comes_unasked(table: Table, line: bytes, version: bytes) -> None:
    lines = (b"Content-Length: 3", line) if line else (b"Content-Length: 3",)
    with table.fronts["direct"].client() as client:
        client.send(get(SERVER, *lines, method=b"POST", version=version) + b"abc")
        answer = client.read()
    assert (answer.interim, Arrived.of(answer.request).body) == ([], b"abc")


# -- connections that end -------------------------------------------------------------


def test_a_request_that_ends_early(table: Table) -> None:
    for path in (table.fronts["direct"].script(("body",)).path, ONCE):
        with table.fronts["direct"].client() as client:
            client.send(post(path, b"whole")[:-2])
            client.socket.shutdown(socket.SHUT_WR)
            answer = client.read()
            assert (answer.status, answer.error) == (400, b"ZV400")


WAITING = [("wait",), ("send", OK)]
STREAMING = [("send", b"HTTP/1.1 200 OK\r\n\r\nx"), ("wait",)]


@pytest.mark.parametrize("steps", [WAITING, STREAMING], ids=["before", "during"])
@pytest.mark.parametrize("leaves", ["close", "reset", "half"])
def test_a_client_that_leaves(
    front: Front, steps: list[tuple[str]], leaves: str
) -> None:
    """Threat 72: the function's connection ends as well; who only ends its side of it
    counts as gone."""
    run = (
        front.script(("drain",))
        if steps is WAITING
        else front.script(STREAMING[0], ("drain",))
    )
    with front.client() as client:
        client.send(get(run.path))
        run.until(lambda seen: bool(seen["got"]))
        if steps is STREAMING:
            client.until(b"x")
        if leaves == "half":
            client.socket.shutdown(socket.SHUT_WR)
        elif leaves == "reset":
            linger = b"\1\0\0\0\0\0\0\0"
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.socket.close()
        else:
            client.socket.close()
        assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


def test_a_client_that_leaves_its_upload(front: Front) -> None:
    run = front.script(("body",), ("send", OK))
    with front.client() as client:
        client.send(post(run.path, b"x" * 1000)[:-500])
        run.until(lambda seen: bool(seen["got"]))
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


@pytest.mark.parametrize("size", [1000, 32 << 20])
def test_a_client_that_leaves_while_nobody_reads(table: Table, size: int) -> None:
    """Held back, its connection is not read from; it is noticed all the same."""
    front = table.fronts["direct"]
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    run = front.script(("send", head), ("wait",), ("drain",))
    with front.client() as client:
        client.socket.settimeout(0.5)
        client.send(post(run.path, bytes(size))[:-1])
    front.gateway.until(lambda: f"/run/{run.name}" in front.gateway.log(), 5)
    run.go()
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


def test_a_function_that_closes_each_connection(front: Front) -> None:
    """No request is lost on a connection that was closed without a word."""
    run = front.script(("last", OK))
    with front.client() as client:
        statuses = [client.send(get(run.path)).read().status for _ in range(100)]
    assert statuses == [200] * 100
    assert len({seen["connection"] for seen in run.journal}) == 100


def test_nothing_is_sent_twice(front: Front) -> None:
    """A function that reads a request and closes gets it once."""
    run = front.script(("close",))
    for method in (b"GET", b"PUT", b"POST"):
        with front.client() as client:
            answer = client.send(get(run.path, method=method)).read()
            assert (answer.status, answer.error) == (502, b"ZV502")
    assert len(run.journal) == 3


def test_what_the_log_says(table: Table) -> None:
    """The status the client got, and of what was broken off the reason."""
    front = table.fronts["direct"]
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    runs = {
        "refused": front.script(("close",)),
        "cut": front.script(("send", head), ("pause", 0.05), ("close",)),
    }
    with suppress(OSError):
        for word, run in runs.items():
            front.ask(get(run.path + b"/" + word.encode()))

    def found() -> list[tuple[int, str]]:
        lines = [json.loads(line) for line in table.gateway.log().splitlines()]
        ours = [line for line in lines if line.get("path", "").endswith(tuple(runs))]
        return [(line["status"], line["error_code"]) for line in ours]

    table.gateway.until(lambda: found() == [(502, "ZV502"), (200, "ZV502")], 5)
