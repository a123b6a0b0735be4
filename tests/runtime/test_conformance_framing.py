"""Where a request's body ends, in every spelling there is: threats 67 and 69.

Each row is sent to a server function directly and through nginx, and to one that runs
once for each request, which has to be as strict.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.fixtures.conformance import OK, Front, Table

NOTHING = None  # of a request arrives at the function
LENGTH, CHUNKED = b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


@dataclass
class Row:
    """`sent` follows the request line and Host. `nginx` is what that makes of it, where
    it is not what we do: a status of its own, or the body that arrives."""

    name: str
    sent: bytes
    status: int
    arrives: bytes | None = NOTHING
    nginx: int | bytes = 0

    def through(self, front: Front) -> tuple[int, bytes | None]:
        """Status, and what arrives."""
        if front.is_direct or self.nginx == 0:
            return self.status, self.arrives
        if isinstance(self.nginx, bytes):
            return 200, self.nginx
        return self.nginx, NOTHING


ROWS = [
    Row("no length", b"\r\n", 200, b""),
    Row("length", LENGTH + b"3\r\n\r\nabc", 200, b"abc"),
    Row("length 0", LENGTH + b"0\r\n\r\n", 200, b""),
    Row("leading zero", LENGTH + b"03\r\n\r\nabc", 200, b"abc"),
    Row("padded length", LENGTH + b"  3 \t\r\n\r\nabc", 200, b"abc", nginx=400),
    Row("chunks", CHUNKED + b"\r\n3\r\nabc\r\n2\r\nde\r\n" + END, 200, b"abcde"),
    Row("no chunks", CHUNKED + b"\r\n" + END, 200, b""),
    Row("hex digits", CHUNKED + b"\r\n00A\r\n0123456789\r\n" + END, 200, b"0123456789"),
    Row("extension", CHUNKED + b"\r\n3;a=b\r\nabc\r\n" + END, 200, b"abc"),
    Row("quoted extension", CHUNKED + b'\r\n3;a="b;c"\r\nabc\r\n' + END, 200, b"abc"),
    Row("trailer", CHUNKED + b"\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", 200, b"abc"),
    Row("coding in capitals", b"Transfer-Encoding: Chunked\r\n\r\n" + END, 200, b""),
    Row("empty lines before", b"\r\n", 200, b""),
    # Lengths that are none, or more than one
    Row("negative", LENGTH + b"-1\r\n\r\n", 400),
    Row("signed", LENGTH + b"+3\r\n\r\nabc", 400),
    Row("hex", LENGTH + b"0x3\r\n\r\nabc", 400),
    Row("letters", LENGTH + b"abc\r\n\r\n", 400),
    Row("fraction", LENGTH + b"3.0\r\n\r\nabc", 400),
    Row("empty length", LENGTH + b"\r\n\r\nabc", 400),
    Row("list", LENGTH + b"3, 3\r\n\r\nabc", 400),
    Row("spaced", LENGTH + b"3 3\r\n\r\nabc", 400),
    Row("over 64 bits", LENGTH + b"18446744073709551616\r\n\r\n", 400),
    Row("twice equal", LENGTH + b"3\r\n" + LENGTH + b"3\r\n\r\nabc", 400),
    Row("twice unequal", LENGTH + b"3\r\n" + LENGTH + b"4\r\n\r\nabcd", 400),
    Row("beyond the limit", LENGTH + b"9999999999999999\r\n\r\n", 413),
    # Both
    Row("length, chunks", LENGTH + b"5\r\n" + CHUNKED + b"\r\n" + END, 400),
    Row("chunks, length", CHUNKED + LENGTH + b"5\r\n\r\n" + END, 400),
    Row(
        "length in trailer",
        CHUNKED + b"\r\n0\r\n" + LENGTH + b"3\r\n\r\n",
        400,
        nginx=b"",
    ),
    # Codings
    Row("unknown coding", b"Transfer-Encoding: xchunked\r\n\r\n" + END, 400, nginx=501),
    Row(
        "gzip first", b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END, 400, nginx=501
    ),
    Row("gzip only", b"Transfer-Encoding: gzip\r\n\r\nabc", 400, nginx=501),
    Row("identity", b"Transfer-Encoding: identity\r\n\r\nabc", 400, nginx=501),
    Row("not last", b"Transfer-Encoding: chunked, x\r\n\r\n" + END, 400, nginx=501),
    Row("listed twice", b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400, nginx=501),
    Row("two lines", CHUNKED + CHUNKED + b"\r\n" + END, 400),
    Row("halves", b"Transfer-Encoding: chun\r\nTransfer-Encoding: ked\r\n\r\n", 400),
    Row("parameter", b"Transfer-Encoding: chunked;q=1\r\n\r\n" + END, 400, nginx=501),
    Row("quoted coding", b'Transfer-Encoding: "chunked"\r\n\r\n' + END, 400, nginx=501),
    Row(
        "vertical tab", b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END, 400, nginx=501
    ),
    Row("no coding", b"Transfer-Encoding:\r\n\r\n" + END, 400, nginx=501),
    # Chunks
    Row("size 0x3", CHUNKED + b"\r\n0x3\r\nabc\r\n" + END, 400),
    Row("size -3", CHUNKED + b"\r\n-3\r\nabc\r\n" + END, 400),
    Row("size +3", CHUNKED + b"\r\n+3\r\nabc\r\n" + END, 400),
    Row("size in words", CHUNKED + b"\r\nthree\r\nabc\r\n" + END, 400),
    Row("space behind size", CHUNKED + b"\r\n3 \r\nabc\r\n" + END, 400, nginx=b"abc"),
    Row("no size", CHUNKED + b"\r\n\r\n3\r\nabc\r\n" + END, 400),
    Row("size over 64 bits", CHUNKED + b"\r\n10000000000000000\r\na", 400),
    Row("chunk too long", CHUNKED + b"\r\n3\r\nabcd\r\n" + END, 400),
    Row("chunk too short", CHUNKED + b"\r\n3\r\nab\r\n" + END, 400, nginx=b"ab\r"),
    Row("chunk without CRLF", CHUNKED + b"\r\n3\r\nabc" + END, 400),
    Row("bare LF in chunks", CHUNKED + b"\r\n3\nabc\n0\n\n", 400, nginx=b"abc"),
    Row("LF in extension", CHUNKED + b"\r\n3;a\nb\r\nabc\r\n" + END, 400),
    Row("CR in size", CHUNKED + b"\r\n3\rabc\r\n" + END, 400),
    Row("NUL in extension", CHUNKED + b"\r\n3;\0\r\nabc\r\n" + END, 400, nginx=b"abc"),
    Row("folded trailer", CHUNKED + b"\r\n0\r\nX: y\r\n z\r\n\r\n", 400, nginx=b""),
    # Header lines
    Row("bare LF", b"X: y\n\r\n", 400, nginx=b""),
    Row("folded", b"X: y\r\n z\r\n\r\n", 400),
    Row("folded first", b" X: y\r\n\r\n", 400),
    Row("space before colon", b"Content-Length : 3\r\n\r\nabc", 400),
    Row("no colon", b"X\r\n\r\n", 400, nginx=b""),
    Row("no name", b": y\r\n\r\n", 400),
    Row("parenthesis in name", b"X(: y\r\n\r\n", 400, nginx=b""),
    Row("NUL in name", b"X\0: y\r\n\r\n", 400),
    Row("NUL in value", b"X: y\0z\r\n\r\n", 400),
    Row("control in value", b"X: y\x01z\r\n\r\n", 400),
    Row("CR in value", b"X: y\rz\r\n\r\n", 400),
    Row("too much", b"X: %b\r\n\r\n" % (b"y" * 40_000), 431),
    Row("too many", b"X: y\r\n" * 100 + b"\r\n", 431),
]
IDS = [row.name for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_arrives(front: Front, row: Row) -> None:
    run = front.script(("body",), ("send", OK))
    status, arrives = row.through(front)
    with front.client() as client:
        client.send(b"POST %b HTTP/1.1\r\nHost: x\r\n%b" % (run.path, row.sent))
        answer = client.read()
        assert (answer.status, answer.is_whole) == (status, True)
        if front.is_direct:  # nothing behind what was unclear is taken for a request
            assert client.goes_on == (status in {200, 431})
    bodies = [arrived.body for arrived in run.arrived]
    assert bodies == ([] if arrives is NOTHING else [arrives])


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_same_for_one_container_per_request(front: Front, row: Row) -> None:
    """It has no image: what reaches it is answered with 503 in its name."""
    request = b"POST /alice/once HTTP/1.1\r\nHost: x\r\n" + row.sent
    answer = front.ask(request)
    status, arrives = row.through(front)
    assert answer.status == (503 if status == 200 else status)
    assert bool(answer.get(b"x-zerverless-function")) == (arrives is not NOTHING)


@pytest.mark.parametrize(
    "chunk", [b"x\r\n", b"3\r\nabcd", b"0\r\n" + LENGTH + b"3\r\n\r\n", b";" * 50_000]
)
def test_a_body_that_goes_wrong_on_its_way(table: Table, chunk: bytes) -> None:
    """The function sees its connection end, never the end of the body."""
    front = table.fronts["direct"]
    run = front.script(("body",), ("send", OK))
    with front.client() as client:
        client.send(b"POST %b HTTP/1.1\r\nHost: x\r\n" % run.path)
        client.send(CHUNKED + b"\r\n3\r\nabc\r\n")
        run.until(lambda seen: bool(seen["got"]))
        answer = client.send(chunk).read()
        assert (answer.status, answer.error) == (400, b"ZV400")
        assert not client.goes_on
    assert run.until(lambda seen: seen["end"])["end"] in {"eof", "reset"}
