"""Checks against answers of every kind, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from applications.spec import Check
from runtime import checks
from runtime.checks import Got
from runtime.errors import ContainerEngineError
from runtime.route import Route, RouteConfig
from tests.fixtures.functions import SDK_LEAVES_SOCKETS, Runner, image_of

ROUTE = Route(1, 0, 3, "alice", "/api", "sha256:0", "c0ffee")
ROOT = Check("GET", "/")
HELLO = replace(ROOT, contains="hello")


class Server:
    """Answers one connection with the given bytes; keeps what it was asked."""

    def __init__(self, *pieces: bytes, stays_open: bool = False) -> None:
        self.pieces, self.stays_open = pieces, stays_open
        self.asked = b""
        self.was_closed = False

    async def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.task = asyncio.create_task(self._serve(theirs))
        return ours

    async def _serve(self, connection: socket.socket) -> None:
        incoming, outgoing = await asyncio.open_connection(sock=connection)
        self.asked = await incoming.readuntil(b"\r\n\r\n")
        for piece in self.pieces:
            outgoing.write(piece)
            await outgoing.drain()
            await asyncio.sleep(0.01)
        if self.stays_open:
            self.was_closed = await incoming.read() == b""
        outgoing.close()


def ask(server: Server, check: Check = ROOT, seconds: float = 5) -> Got:
    async def run() -> Got:
        got = await checks.ask(server.connect, ROUTE, check, seconds)
        await asyncio.wait([server.task])
        return got

    return asyncio.run(run())


def answer(body: bytes = b"hello", status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(),
        len(body),
        body,
    )


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: hello\n\n"


@pytest.mark.parametrize(
    ("pieces", "check"),
    [
        ([answer()], HELLO),
        ([answer(b"")], ROOT),
        ([answer(status="404 Not Found")], replace(HELLO, status=404)),
        ([answer(b"", "302 Found")], replace(ROOT, status=302)),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], replace(ROOT, status=204)),
        ([CHUNKED, b"3\r\nxhe\r\n", b"3\r\nllo\r\n", b"0\r\n\r\n"], HELLO),
        ([b"HTTP/1.0 200 OK\r\n\r\n", b"hel", b"lo"], HELLO),
        ([b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", answer()], HELLO),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"], Check("HEAD", "/")),
        ([answer("grüß".encode())], replace(ROOT, contains="grüß")),
    ],
)
def test_an_answer_as_expected_passes(pieces: list[bytes], check: Check) -> None:
    assert checks.problem_of(check, ask(Server(*pieces), check)) == ""


@pytest.mark.parametrize("check", [ROOT, HELLO])
def test_a_stream_without_an_end_passes_as_soon_as_it_can(check: Check) -> None:
    server = Server(ENDLESS, stays_open=True)
    assert checks.problem_of(check, ask(server, check)) == ""
    assert server.was_closed


@pytest.mark.parametrize(
    ("pieces", "check", "problem"),
    [
        (
            [answer(b"Internal\nerror", "500 Oops")],
            ROOT,
            'expected status 200, got 500 with "Internal\\nerror"',
        ),
        ([answer(b"", "404 No")], ROOT, "expected status 200, got 404 with an empty"),
        ([answer(b"a" * 9999, "500 No")], ROOT, f'got 500 with "{"a" * 199}…"'),
        ([answer()], replace(ROOT, status=201), "expected status 201, got 200 with"),
        ([answer(b"bye")], HELLO, 'expected "hello" in the answer, got "bye"'),
        ([answer(b"\0\xff")], HELLO, 'in the answer, got "\\x00\ufffd"'),
        ([b"HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n"], ROOT, "status 200, got 101 with"),
        (
            [b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\n"],
            Check("HEAD", "/"),
            "expected status 200, got 500",
        ),
        ([], ROOT, "expected status 200, got no answer: it closed the connection"),
        ([b"SSH-2.0-OpenSSH\r\n"], ROOT, "got no answer: it broke off: "),
        ([b"HTTP/1.1 200 OK\r\nContent-"], ROOT, "no answer: it closed the connection"),
        ([CHUNKED, b"zz\r\n"], HELLO, "in the answer, got an empty body (it broke off"),
    ],
)
def test_another_answer_is_told_in_words(
    pieces: list[bytes], check: Check, problem: str
) -> None:
    assert problem in checks.problem_of(check, ask(Server(*pieces), check))


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ([], "expected status 200, got no answer: it did not end within 0.2 s"),
        ([ENDLESS[:-9]], 'expected "hello" in the answer, got "data" (it did not end'),
    ],
)
def test_whoever_takes_too_long_fails(pieces: list[bytes], problem: str) -> None:
    server = Server(*pieces, stays_open=True)
    got = ask(server, HELLO, seconds=0.2)
    assert checks.problem_of(HELLO, got).startswith(problem)


def test_a_large_answer_is_read_no_further_than_needed(settings: Any) -> None:
    settings.ZERVERLESS_MAX_BODY = 100
    got = ask(Server(answer(b"x" * 5000 + b"hello")), HELLO)
    assert len(got.body) == 100
    assert "expected" in checks.problem_of(HELLO, got)


def test_who_cannot_be_reached_is_told() -> None:
    async def refused() -> socket.socket:
        raise ConnectionRefusedError(111, "Connection refused")

    got = asyncio.run(checks.ask(refused, ROUTE, ROOT, 1))
    assert "got no answer: it broke off: [Errno 111]" in checks.problem_of(ROOT, got)


@pytest.mark.parametrize(
    ("functions_host", "host", "prefix"),
    [
        ("", "zv.example:8443", "/alice/api"),
        ("fn.example", "fn.example:8443", "/alice/api"),
        ("*.fn.example", "alice.fn.example:8443", "/api"),
    ],
)
def test_it_is_asked_as_the_gateway_would_ask(
    settings: Any, functions_host: str, host: str, prefix: str
) -> None:
    settings.ZERVERLESS_BASE_URL = "https://zv.example:8443"
    settings.ZERVERLESS_FUNCTIONS_HOST = functions_host
    server = Server(answer())
    ask(server, Check("POST", "/items?page=1"))
    first, *lines = server.asked.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    assert first == "POST /items?page=1 HTTP/1.1"
    assert headers["host"] == headers["x-forwarded-host"] == host
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-prefix"] == prefix
    assert headers["content-length"] == "0"
    assert len(headers["x-request-id"]) == 32


ECHO = 'FROM busybox\nCMD ["sh", "-c", "echo $SCRIPT_NAME $PATH_INFO $QUERY_STRING"]\n'


@pytest.mark.parametrize(
    ("path", "asked", "seen"),
    [
        ("/api", "/", "/alice/api"),
        ("/api", "/x%20y?a=b", "/alice/api /x y a=b"),
        ("/", "/?a=b", "/alice a=b"),
        ("/", "/deep/er", "/alice /deep/er"),
    ],
)
def test_a_function_that_runs_once_sees_the_same_address(
    runner: Runner, path: str, asked: str, seen: str
) -> None:
    route = replace(ROUTE, path=path, image_id=image_of(ECHO))
    got = checks.run(route, Check("GET", asked), runner.owner, threading.Event())
    assert (got.status, " ".join(got.body.decode().split())) == (200, seen)


def stopped() -> threading.Event:
    event = threading.Event()
    event.set()
    return event


@pytest.mark.parametrize(
    ("command", "stop", "problem"),
    [
        ("exit 3", threading.Event, "no answer: The function ended with exit code 3"),
        ("sleep 9", threading.Event, "no answer: The function did not end within 1 s"),
        ("sleep 9", stopped, "no answer: The client closed the connection"),
    ],
)
def test_a_function_that_gives_no_answer_is_told(
    runner: Runner,
    command: str,
    stop: Callable[[], threading.Event],
    problem: str,
) -> None:
    image = image_of(f'FROM busybox\nCMD ["sh", "-c", "{command}"]\n')
    route = replace(ROUTE, image_id=image, config=RouteConfig(timeout=1))
    got = checks.run(route, ROOT, runner.owner, stop())
    assert problem in checks.problem_of(ROOT, got)


@SDK_LEAVES_SOCKETS
@pytest.mark.parametrize("lost", ["the engine", "the image"])
def test_a_fault_of_ours_is_not_the_functions(
    runner: Runner, settings: Any, lost: str
) -> None:
    host = settings.DOCKER_HOST
    if lost == "the engine":
        settings.DOCKER_HOST = "unix:///nonexistent/docker.sock"
    with pytest.raises(ContainerEngineError):
        checks.run(ROUTE, ROOT, runner.owner, threading.Event())
    gc.collect()
    settings.DOCKER_HOST = host
