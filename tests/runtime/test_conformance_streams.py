"""Bodies that take their time, in both directions: threats 69, 70 and 72."""

from __future__ import annotations

import threading

import pytest

from tests.fixtures.conformance import MANY, MORE, OK, SOME, Front, Table
from tests.fixtures.memory import resident
from tests.fixtures.raw_http import dechunked

HEAD = b"HTTP/1.1 200 OK\r\n"


def get(path: bytes, version: bytes = b"1.1") -> bytes:
    return b"GET %b HTTP/%b\r\nHost: x\r\n\r\n" % (path, version)


def upload(path: bytes, size: int) -> bytes:
    """The head of a request with a body of so many bytes."""
    return b"PUT %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, size)


# -- answers --------------------------------------------------------------------------


def test_events_arrive_at_once(front: Front) -> None:
    """Server-sent events: the next one is not sent before this one was seen."""
    run = front.script(
        ("send", HEAD + b"Content-Type: text/event-stream\r\n\r\ndata: first\n\n"),
        ("wait",),
        ("send", b"data: second\n\n"),
        ("close",),
    )
    with front.client() as client:
        client.send(get(run.path))
        assert b"data: first" in client.until(b"\n\n")
        run.go()
        assert b"data: second" in client.until(b"\n\n")


def test_the_head_arrives_before_the_body(front: Front) -> None:
    run = front.script(
        ("send", HEAD + b"Content-Length: 4\r\n\r\n"), ("wait",), ("send", b"body")
    )
    with front.client() as client:
        client.send(get(run.path))
        assert client.until(b"\r\n\r\n").startswith(HEAD)
        run.go()
        assert client.take(4) == b"body"


def test_early_hints(front: Front) -> None:
    """Only `Link`, at once, and only to a client that comes without a proxy: nginx 1.22
    would take them for the answer."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nX: y\r\n\r\n"
    run = front.script(("send", hints), ("wait",), ("send", OK))
    with front.client() as client:
        client.send(get(run.path))
        if front.is_direct:
            hint = client.until(b"\r\n\r\n")
            assert hint == hints.replace(b"X: y\r\n", b"").replace(b"Link", b"link")
        run.until(lambda seen: seen["sent"] == len(hints))
        run.go()
        answer = client.read()
        assert (answer.status, answer.body, answer.interim) == (200, b"ok", [])
        assert client.goes_on


def test_no_hints_for_http_1_0(table: Table) -> None:
    hint = b"HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n"
    run = table.fronts["direct"].script(("send", hint + OK))
    answer = table.fronts["direct"].ask(get(run.path, b"1.0"))
    assert (answer.interim, answer.body) == ([], b"ok")


@pytest.mark.parametrize("framing", [b"Content-Length: %d\r\n" % MANY, b""])
def test_a_client_that_does_not_read(front: Front, framing: bytes) -> None:
    """The function is held back, and nothing piles up in between."""
    before = resident(front.gateway)
    run = front.script(
        ("send", HEAD + framing + b"\r\n"), ("flood", MANY), ("last", b"")
    )
    with front.client() as client:
        client.send(get(run.path))
        sent = run.steady("sent")
        assert sent < MANY
        assert run.held(sent) < SOME
        assert resident(front.gateway) - before < MORE
        head = client.until(b"\r\n\r\n").lower()
        if framing:
            assert len(client.take(MANY)) == MANY
        else:
            assert b"transfer-encoding: chunked" in head
            assert client.skip_chunks() == MANY


# -- requests -------------------------------------------------------------------------


def test_a_body_arrives_as_it_comes(front: Front) -> None:
    """Not only when it is whole."""
    run = front.script(("count", 5), ("send", HEAD), ("count", 3), ("send", OK[17:]))
    with front.client() as client:
        client.send(upload(run.path, 8) + b"first")
        run.until(lambda seen: seen["sent"] == len(HEAD))
        assert client.send(b"and").read().body == b"ok"


def test_chunks_arrive_as_they_come(front: Front) -> None:
    run = front.script(("body",), ("send", OK))
    with front.client() as client:
        client.send(b"PUT %b HTTP/1.1\r\nHost: x\r\n" % run.path)
        client.send(b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        run.until(lambda seen: bool(seen["got"]))
        client.send(b"3\r\nand\r\n0\r\n\r\n")
        assert client.read().body == b"ok"
    [seen] = run.journal
    assert dechunked(seen["got"].encode().partition(b"\r\n\r\n")[2]) == b"firstand"


def test_an_answer_and_a_body_at_the_same_time(table: Table) -> None:
    """A function may answer while it still reads."""
    run = table.fronts["direct"].script(
        ("count", 1),
        ("send", HEAD + b"\r\n1"),
        ("count", 1),
        ("send", b"2"),
        ("close",),
    )
    with table.fronts["direct"].client() as client:
        client.send(upload(run.path, 2) + b"a").until(b"1\r\n1\r\n")
        assert client.send(b"b").until(b"0\r\n\r\n") == b"1\r\n2\r\n0\r\n\r\n"


def test_a_function_that_does_not_read(front: Front) -> None:
    """The client is held back, and nothing piles up in between."""
    before = resident(front.gateway)
    run = front.script(("wait",), ("count", MANY), ("send", OK))
    with front.client() as client:
        client.send(upload(run.path, MANY))
        sent = client.fill(MANY)
        assert sent < MANY
        assert run.held(sent) < SOME
        assert resident(front.gateway) - before < MORE
        run.go()
        client.send(bytes(MANY - sent))
        assert client.read().body == b"ok"
    assert run.journal[0]["received"] > MANY


# -- answers before the end of the body -----------------------------------------------

NO = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize("then", ["close", "drain", "reset after a while"])
@pytest.mark.parametrize("size", [100, 300_000, 32 << 20])
def test_an_answer_before_the_body_ends(front: Front, size: int, then: str) -> None:
    """It arrives, whether or not the function reads what still comes."""
    steps: tuple[tuple[object, ...], ...] = ((then,),)
    if " " in then:
        steps = (("pause", 0.1), ("reset",))
    run = front.script(("send", NO), *steps)
    with front.client() as client:
        client.send(upload(run.path, size))
        sending = threading.Thread(target=client.send, args=[bytes(size - 1)])
        sending.start()
        answer = client.read()
        sending.join(20)
    assert (answer.status, answer.body, answer.error) == (413, b"no", b"")
    assert len(run.journal) == 1


def test_the_next_one_has_a_connection_of_its_own(table: Table) -> None:
    """The rest of the body nobody wanted is not its beginning."""
    front = table.fronts["direct"]
    run = front.script(("send", NO))
    with front.client() as client:
        client.send(upload(run.path, 100) + b"some")
        assert client.read().status == 413
        client.send(get(run.path))
        assert client.rest() == b""
    answer = front.ask(get(b"/alice/server/next"))
    assert answer.request.startswith(b"GET /next HTTP/1.1\r\n")
