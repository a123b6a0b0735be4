"""The HTTP client over a unix socket, against servers that behave and that do not."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime import upstream
from runtime.upstream import Upstream, UpstreamAbsent, UpstreamFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zv-up-") as directory:
        yield Path(directory) / "s"


class Server:
    """Answers each request on each connection with the next of `answers`."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answers.pop(0))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, IndexError):
            pass
        writer.close()


@asynccontextmanager
async def listening(script: Script, path: Path) -> AsyncIterator[Upstream]:
    server = await asyncio.start_unix_server(script, str(path))
    client = Upstream(path, answer_seconds=1)
    try:
        yield client
    finally:
        client.close()
        server.close()
        await asyncio.sleep(0.01)


async def ask(client: Upstream, method: str = "GET") -> tuple[int, bytes]:
    reply = await client.send(method, "/-/x", [(b"host", b"h")])
    body = b""
    try:
        while data := await reply.read():
            body += data
    finally:
        reply.close()
    return reply.status, body


async def ask_each(
    path: Path, server: Server, *methods: str
) -> list[tuple[int, bytes]]:
    async with listening(server.serve, path) as client:
        return [await ask(client, method) for method in methods]


def test_connections_are_kept(path: Path) -> None:
    server = Server(OK, OK, OK)
    answers = asyncio.run(ask_each(path, server, "GET", "GET", "GET"))
    assert answers == [(200, b"ok")] * 3
    assert server.connections == 1
    assert server.heads[0] == b"GET /-/x HTTP/1.1\r\nhost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
    ],
)
def test_framings(path: Path, answer: bytes, body: bytes) -> None:
    """And the connection is in step for the next request."""
    server = Server(answer, OK)
    first, second = asyncio.run(ask_each(path, server, "GET", "GET"))
    assert first[1] == body
    assert second == (200, b"ok")
    assert server.connections == 1


def test_a_head_answer_has_no_body(path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    answers = asyncio.run(ask_each(path, Server(head, OK), "HEAD", "GET"))
    assert answers == [(200, b""), (200, b"ok")]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmuggled",
    ],
)
def test_a_connection_that_cannot_go_on_is_dropped(path: Path, answer: bytes) -> None:
    """Threat 67: bytes after an answer are never the next one's."""
    server = Server(answer, OK)
    assert asyncio.run(ask_each(path, server, "GET", "GET"))[1] == (200, b"ok")
    assert server.connections == 2


def test_a_body_that_ends_with_the_connection(path: Path) -> None:
    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        writer.close()

    async def run() -> tuple[int, bytes]:
        async with listening(script, path) as client:
            return await ask(client)

    assert asyncio.run(run()) == (200, b"to the end")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_broken_answers_are_errors(path: Path, answer: bytes) -> None:
    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def run() -> None:
        async with listening(script, path) as client:
            await ask(client)

    with pytest.raises(UpstreamFailed):
        asyncio.run(run())


def test_no_answer_in_time(path: Path) -> None:
    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read()
        writer.close()

    async def run() -> None:
        async with listening(script, path) as client:
            await ask(client)

    with pytest.raises(UpstreamFailed, match="within 1 s"):
        asyncio.run(run())


def test_nobody_listens(path: Path) -> None:
    with pytest.raises(UpstreamAbsent):
        asyncio.run(ask(Upstream(path, 1)))
    path.touch()
    with pytest.raises(UpstreamAbsent):
        asyncio.run(ask(Upstream(path, 1)))


def test_a_pooled_connection_closed_meanwhile_is_replaced(path: Path) -> None:
    server = Server(OK, OK)

    async def run() -> list[tuple[int, bytes]]:
        async with listening(server.serve, path) as client:
            first = await ask(client)
            server.writers[0].close()
            return [first, await ask(client)]

    assert asyncio.run(run()) == [(200, b"ok")] * 2
    assert server.connections == 2


def test_old_connections_are_not_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "IDLE_SECONDS", 0)
    server = Server(OK, OK)
    asyncio.run(ask_each(path, server, "GET", "GET"))
    assert server.connections == 2


@pytest.mark.parametrize("length", [1 << 22, None])
def test_bodies_stream_both_ways(path: Path, length: int | None) -> None:
    """A large body goes up and comes down without being collected on the way."""

    async def script(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert (b"transfer-encoding: chunked" in head) == (length is None)
        size = await _count(reader, chunked=length is None)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 16):
            writer.write(b"y" * (1 << 16))
            await writer.drain()
        writer.close()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * (1 << 16)

    async def run() -> int:
        async with listening(script, path) as client:
            reply = await client.send("POST", "/", [(b"host", b"h")], body(), length)
            received = 0
            while data := await reply.read():
                received += len(data)
            reply.close()
            return received

    assert asyncio.run(run()) == 1 << 22


async def _count(reader: asyncio.StreamReader, *, chunked: bool) -> int:
    if not chunked:
        return len(await reader.readexactly(1 << 22))
    total = 0
    while size := int(await reader.readline(), 16):
        total += len(await reader.readexactly(size))
        await reader.readline()
    return total


def test_an_answer_before_the_end_of_the_body(path: Path) -> None:
    """The rest is not sent, and the connection not used again."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    server = Server(refusal, OK)

    async def body() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(60)

    async def run() -> list[int]:
        async with listening(server.serve, path) as client:
            reply = await client.send("POST", "/", [(b"host", b"h")], body(), 100)
            assert await reply.read() == b"no"
            reply.close()
            return [reply.status, (await ask(client))[0]]

    assert asyncio.run(run()) == [413, 200]
    assert server.connections == 2
