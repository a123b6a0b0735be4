"""How long anything may take, how large it may be, and whom a gateway believes.

Threats 64, 69, 70 and 82. A gateway whose patience is short, behind a trusted proxy and
with a host name for functions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.conformance import OK, Front, deploy_scripted, nginx
from tests.fixtures.gateway import Gateway, StartGateway
from tests.fixtures.raw_http import Arrived, RawAnswer, RawClient

SHORT = 0.5  # seconds
LONG = 1.0
CONSTANTS = {
    "http_server.TICK": 0.05,
    "client_connection.HEAD_SECONDS": SHORT,
    "client_connection.IDLE_SECONDS": LONG,
    "client_socket.STALL_SECONDS": LONG,
    "client_socket.LINGER_SECONDS": SHORT,
    "client_socket.LINGER_MAX": LONG,
    "tunnel.HALF_CLOSED_SECONDS": SHORT,
    "idle.SECONDS": SHORT / 2,
}
TIMEOUT = 0.8  # of the function
HOST = b"Host: 127.0.0.1\r\n"
LIMIT = 1 << 20
LENGTH = b"Content-Length: %d\r\n\r\n"
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n"
)


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> Iterator[Gateway]:
    gateway = start_gateway(
        CONSTANTS,
        ZERVERLESS_MAX_STREAM="1Mi",
        ZERVERLESS_TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8",
        ZERVERLESS_FUNCTIONS_HOST="127.0.0.1",
        ZERVERLESS_BASE_URL="https://site.example",
    )
    deploy_scripted(gateway, timeout=TIMEOUT)
    gateway.until(lambda: gateway.get("/alice/server").status == 200)
    yield gateway
    assert gateway.stop() == 0


@pytest.fixture(scope="module")
def fronts(gateway: Gateway) -> Iterator[dict[str, Front]]:
    with nginx(gateway) as port:
        ports = {"direct": gateway.port, "nginx": port}
        yield {name: Front(name, ports[name], gateway) for name in ports}


@pytest.fixture(params=["direct", "nginx"])
def front(request: pytest.FixtureRequest, fronts: dict[str, Front]) -> Front:
    """Each of the two, in turn."""
    return fronts[request.param]


@pytest.fixture
def direct(fronts: dict[str, Front]) -> Front:
    """For what nginx sees to by itself, with clocks of its own: see docs/http.md."""
    return fronts["direct"]


def get(path: bytes = b"/alice/server", lines: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path, HOST, lines)


def put(path: bytes = b"/alice/server") -> bytes:
    """The first lines of a request with a body."""
    return b"PUT %b HTTP/1.1\r\n%b" % (path, HOST)


def took(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


# -- time: requests -------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"G", get()[:-2], b"\r\n"])
def test_a_head_that_takes_too_long(direct: Front, begun: bytes) -> None:
    with direct.client() as client:
        answer = client.send(begun).read()
        assert (answer.status, answer.error) == (408, b"ZV408")
        assert client.rest() == b""


def test_a_head_in_drops(direct: Front) -> None:
    """The time is for all of it."""
    with direct.client() as client:
        client.send(b"GET /")
        for _ in range(8):
            client.send(b"x")
            time.sleep(SHORT / 5)
        assert client.read().status == 408


@pytest.mark.parametrize("before", [b"", get()])
def test_a_connection_nobody_uses(direct: Front, before: bytes) -> None:
    """Is closed without a word."""
    with direct.client() as client:
        if before:
            assert client.send(before).read().status == 200
        assert LONG / 2 < took(lambda: client.rest()) < 10


def test_a_body_that_stops(front: Front) -> None:
    run = front.script(("body",), ("send", OK))
    with front.client() as client:
        client.send(put(run.path) + LENGTH % 4 + b"abc")
        answer = client.read()
        assert (answer.status, answer.error) == (408, b"ZV408")
        assert client.rest() == b""
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


def test_a_body_in_drops(front: Front) -> None:
    """As long as some comes the rest is waited for."""
    run = front.script(("body",), ("send", OK))
    with front.client() as client:
        client.send(put(run.path) + LENGTH % 5)
        for _ in range(5):
            time.sleep(TIMEOUT / 3)
            client.send(b"x")
        assert client.read().status == 200


def test_framing_in_drops(front: Front) -> None:
    """Chunk extensions are nothing of the body, however many come."""
    run = front.script(("body",), ("send", OK))
    with front.client() as client:
        client.send(put(run.path) + b"Transfer-Encoding: chunked\r\n\r\n1;")
        for _ in range(4):
            time.sleep(TIMEOUT / 3)
            client.send(b"x")
        assert client.read().status == 408


# -- time: answers --------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 102 X\r\n\r\n"]
)
def test_a_function_that_does_not_answer(front: Front, said: bytes) -> None:
    run = front.script(("send", said), ("drain",))
    with front.client() as client:
        answer = client.send(get(run.path)).read()
        assert (answer.status, answer.error) == (504, b"ZV504")
        assert client.send(get()).read().status == 200
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


def test_a_function_that_does_not_read(front: Front) -> None:
    """It is its fault, not the client's."""
    run = front.script(("pause", 2))
    with front.client() as client:
        client.send(put(run.path) + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        threading.Thread(target=client.send, args=[chunk * 15 + b"0\r\n\r\n"]).start()
        assert client.read().status == 504


def test_an_answer_may_take_its_time(front: Front) -> None:
    """Once it has begun."""
    head = b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n"
    run = front.script(
        ("send", head), ("pause", 1.5 * TIMEOUT), ("send", b"data: 2\n\n"), ("close",)
    )
    with front.client() as client:
        assert client.send(get(run.path)).read().body == b"data: 1\n\ndata: 2\n\n"


def test_a_client_that_does_not_read(front: Front) -> None:
    """Is cut off, and the function's connection with it."""
    head = b"HTTP/1.1 200 OK\r\n" + LENGTH % (96 << 20)
    run = front.script(("send", head), ("flood", 96 << 20))
    with front.client() as client:
        client.send(get(run.path))
        assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}
        assert client.count() < 96 << 20


def test_a_client_that_reads_slowly(front: Front) -> None:
    """Is not: it takes something every now and then."""
    size = 24 << 20
    run = front.script(
        ("send", b"HTTP/1.1 200 OK\r\n" + LENGTH % size), ("flood", size)
    )
    with front.client() as client:
        client.send(get(run.path)).until(b"\r\n\r\n")
        for _ in range(8):
            time.sleep(LONG / 5)
            client.take(2 << 20)
        assert len(client.take(8 << 20)) == 8 << 20


def test_a_tunnel_may_be_silent(front: Front) -> None:
    run = front.script(("send", SWITCH), ("count", 1), ("send", b"yes"))
    with front.client() as client:
        client.send(get(run.path, b"Connection: upgrade\r\nUpgrade: websocket\r\n"))
        assert client.read().status == 101
        time.sleep(1.5 * LONG)
        assert client.send(b"?").take(3) == b"yes"


def test_half_a_tunnel_may_not(front: Front) -> None:
    """Somebody who went away without a word keeps no instance."""
    run = front.script(("send", SWITCH), ("eof",), ("drain",))
    with front.client() as client:
        client.send(get(run.path, b"Connection: upgrade\r\nUpgrade: websocket\r\n"))
        assert client.read().status == 101
        assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


def test_a_connection_that_has_rested(front: Front) -> None:
    """Is not used again: the function may be about to close it."""
    run = front.script(("send", OK))
    for pause in (0.0, SHORT):
        time.sleep(pause)
        assert front.ask(get(run.path)).status == 200
        time.sleep(0.0)
    first, second = (seen["connection"] for seen in run.journal)
    assert first != second


# -- sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
def test_the_largest_body(front: Front, size: int, status: int) -> None:
    run = front.script(("count", LIMIT), ("send", OK))
    with front.client() as client:
        client.send(put(run.path) + LENGTH % size)
        threading.Thread(target=client.send, args=[bytes(size)]).start()
        assert client.read().status == status
    assert len(run.journal) == (status == 200)


def test_chunks_beyond_the_limit(front: Front) -> None:
    """The function sees its connection end, the client gets the reason, and both
    connections are of no further use."""
    run = front.script(("body",), ("send", OK))
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    with front.client() as client:
        client.send(put(run.path) + b"Transfer-Encoding: chunked\r\n\r\n")
        sending = threading.Thread(target=client.send, args=[chunk * 40])
        sending.start()
        answer = client.read()
        sending.join(20)
        assert (answer.status, answer.error) == (413, b"ZV413")
        assert client.rest() == b""
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


def test_chunks_beyond_the_limit_of_an_answer_that_began(front: Front) -> None:
    """It breaks off: there is no way to say more."""
    head = b"HTTP/1.1 200 OK\r\n\r\nfirst"
    run = front.script(("send", head), ("body",))
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    with front.client() as client:
        client.send(put(run.path) + b"Transfer-Encoding: chunked\r\n\r\n")
        client.until(b"first\r\n")
        client.send(chunk * 17)
        assert b"\r\n0\r\n" not in client.rest()
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}


# -- a refusal reaches a client that still sends --------------------------------------


def test_a_refusal_is_read_by_who_still_sends(direct: Front) -> None:
    """Threat 69: also where it takes longer than the silence that is waited for."""
    with direct.client() as client:
        client.send(put(b"/alice/nobody") + LENGTH % (LIMIT))
        for _ in range(5):
            time.sleep(SHORT / 4)
            client.send(bytes(50_000))
        assert client.read().status == 404
        assert client.rest() == b""


def test_a_client_that_never_stops_sending(direct: Front) -> None:
    with direct.client() as client:
        client.send(put(b"/alice/nobody") + LENGTH % LIMIT)
        began = time.monotonic()
        while time.monotonic() - began < 8 * LONG:
            try:
                client.socket.sendall(b"x")
            except OSError:
                break
            time.sleep(0.05)
        assert time.monotonic() - began < 6 * LONG


# -- whom it believes -----------------------------------------------------------------


def seen(front: Front, lines: bytes) -> dict[bytes, bytes]:
    """X-Forwarded-* as they arrive."""
    arrived = Arrived.of(front.ask(get(lines=lines)).request)
    return {name[12:]: value for name, value in arrived.headers if b"x-forw" in name}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"", {b"for": b"127.0.0.1", b"proto": b"http", b"host": b"127.0.0.1"}),
        (b"X-Forwarded-For: 1.2.3.4\r\n", {b"for": b"1.2.3.4"}),
        (b"X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\n", {b"for": b"1.2.3.4"}),
        (b"X-Forwarded-For: 1.2.3.4, 10.1.1.1\r\n", {b"for": b"1.2.3.4"}),
        (
            b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.2.3.4\r\n",
            {b"for": b"1.2.3.4"},
        ),
        (b"X-Forwarded-For: 6.6.6.6, <script>\r\n", {b"for": b"127.0.0.1"}),
        (b"X-Forwarded-For: ::1\r\n", {b"for": b"::1"}),
        (b"X-Forwarded-Proto: https\r\n", {b"proto": b"https"}),
        (b"X-Forwarded-Proto: gopher\r\n", {b"proto": b"http"}),
        (b"X-Forwarded-Host: 127.0.0.1:444\r\n", {b"host": b"127.0.0.1:444"}),
        (b"X-Forwarded-Host: a b\r\n", {b"host": b"127.0.0.1"}),
        (b"X-Forwarded-Prefix: /six\r\n", {b"prefix": b"/alice/server"}),
        (b"Forwarded: for=6.6.6.6\r\n", {b"for": b"127.0.0.1"}),
    ],
)
def test_a_trusted_proxy(
    direct: Front, lines: bytes, expected: dict[bytes, bytes]
) -> None:
    found = seen(direct, lines)
    assert {name: found[name] for name in expected} == expected


def with_host(front: Front, host: bytes, lines: bytes = b"") -> RawAnswer:
    return front.ask(get(lines=lines).replace(HOST, b"Host: %b\r\n" % host, 1))


@pytest.mark.parametrize(
    ("host", "lines", "status"),
    [
        (b"127.0.0.1", b"", 200),
        (b"127.0.0.1:8000", b"", 200),
        (b"site.example", b"", 404),
        (b"127.0.0.1.evil", b"", 404),
        (b"inner", b"X-Forwarded-Host: 127.0.0.1\r\n", 200),
        (b"127.0.0.1", b"X-Forwarded-Host: site.example\r\n", 404),
    ],
)
def test_a_host_for_functions(
    direct: Front, host: bytes, lines: bytes, status: int
) -> None:
    """Threat 64: that the proxy names; and then their pages need no sandbox."""
    answer = with_host(direct, host, lines)
    assert answer.status == status
    assert b"sandbox" not in answer.get(b"content-security-policy")


def test_a_switch_needs_that_host_too(direct: Front) -> None:
    lines = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    with RawClient(direct.port) as client:
        client.send(get(lines=lines).replace(HOST, b"Host: site.example\r\n"))
        assert client.read().status == 404
