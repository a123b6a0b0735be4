"""Request lines and Host: which function they reach, and as what. Threats 68, 76, 82.

Each row is sent to a server function directly and through nginx, and to one that runs
once for each request, which has to be as strict.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.fixtures.conformance import Front
from tests.fixtures.raw_http import Arrived, RawAnswer

SERVER, ONCE = b"/alice/server", b"/alice/once"


@dataclass
class Row:
    """A request line; `<f>` in it stands for the function's path. `outcome` is the line
    that arrives, or a status, `nginx` the same where nginx makes something else of it.
    """

    line: bytes
    outcome: bytes | int
    nginx: bytes | int | None = None
    host: bytes = b"Host: x\r\n"

    def through(self, front: Front) -> bytes | int:
        return self.outcome if front.is_direct or self.nginx is None else self.nginx

    def request(self, path: bytes) -> bytes:
        return b"%b\r\n%b\r\n" % (self.line.replace(b"<f>", path), self.host)


def get(target: bytes, outcome: bytes | int, nginx: bytes | int | None = None) -> Row:
    def line(text: bytes) -> bytes:
        return b"GET %b HTTP/1.1" % text

    return Row(
        line(target),
        line(outcome) if isinstance(outcome, bytes) else outcome,
        line(nginx) if isinstance(nginx, bytes) else nginx,
    )


LONG = b"a" * 8100
FOUND = b"GET / HTTP/1.1"
NO_HEAD = 0  # an answer in HTTP/0.9

TARGETS = [
    # What the function sees: its own path taken off, everything else as it came
    get(b"<f>", b"/"),
    get(b"<f>/", b"/"),
    get(b"<f>/x", b"/x"),
    get(b"<f>/x/", b"/x/"),
    get(b"<f>//x", b"//x"),
    get(b"<f>/x//", b"/x//"),
    get(b"<f>?a=b&c", b"/?a=b&c"),
    get(b"<f>/x?", b"/x"),
    get(b"<f>/x?a?b/../c", b"/x?a?b/../c"),
    get(b"<f>/x?a=%00%0a", b"/x?a=%00%0a"),
    get(b"<f>/a%2fb", b"/a%2fb"),
    get(b"<f>/a%2Fb%252f", b"/a%2Fb%252f"),
    get(b"<f>/%41%7e", b"/%41%7e"),
    get(b"<f>/a%20b+c", b"/a%20b+c"),
    get(b"<f>/%c3%a9", b"/%c3%a9"),
    get(b"<f>/...", b"/..."),
    get(b"<f>/.x/..y", b"/.x/..y"),
    get(b"<f>/x;v=1,2:3@4!$&'()*=", b"/x;v=1,2:3@4!$&'()*="),
    get(b'<f>/"<>[]^`{|}', b'/"<>[]^`{|}'),
    get(b"<f>/" + LONG, b"/" + LONG),
    get(b"http://x<f>/y?z", b"/y?z"),
    get(b"HTTP://other:81<f>", b"/"),
    get(b"https://x<f>", b"/"),
    # Another function's, or nobody's
    get(b"/<f>", 404),
    get(b"/%2f<f>", 404),
    get(b"<f>x", 404),
    get(b"/alice%2fserver", 404),
    get(b"/Alice/server", 404),
    get(b"http://x", 302),
    # Never decided here what they mean
    get(b"<f>/.", 400),
    get(b"<f>/..", 400),
    get(b"<f>/../once", 400),
    get(b"<f>/%2e%2e/once", 400),
    get(b"<f>/.%2E/once", 400),
    get(b"<f>/a%2f..%2fb", 400),
    get(b"/x/..<f>", 400),
    get(b"/..<f>", 400),
    get(b"<f>/%00", 400),
    get(b"<f>/%0d%0aX:y", 400),
    get(b"<f>/%1f", 400),
    get(b"<f>/%7f", 400),
    get(b"<f>/a\\b", 400),
    get(b"<f>/a%5cb", 400),
    get(b"<f>/%", 400),
    get(b"<f>/%4", 400),
    get(b"<f>/%zz", 400),
    get(b"<f>/%ff", 400),
    get(b"<f>/%c0%af", 400),
    get(b"<f>/\xc3\xa9", 400),
    get(b"<f>?\xff", 400),
    get(b"<f>/\x01", 400),
    get(b"<f>/x\ty", 400),
    get(b"<f>/x y", 400),
    get(b"<f>/x#y", 400),
    get(b"<f>?x#y", 400),
    get(b"*", 400),
    get(b"x:80", 400),
    get(b"x<f>", 400),
    get(b"http://user@x<f>", 400),
    get(b"http:/<f>", 404),
    get(b"ftp://x<f>", 400, nginx=b"/"),
    get(b"<f>/" + LONG + b"b" * 200, 414),
    get(b"<f>?" + LONG + b"b" * 200, 414),
]

METHODS = [
    *(
        Row(b"%b <f> HTTP/1.1" % name, b"%b / HTTP/1.1" % name)
        for name in (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
    ),
    *(
        Row(b"%b <f> HTTP/1.1" % name, 405)
        for name in (b"BREW", b"PROPFIND", b"QUERY", b"LINK", b"G-T")
    ),
    Row(b"get <f> HTTP/1.1", 405, nginx=400),
    Row(b"Get <f> HTTP/1.1", 405, nginx=400),
    Row(b"TRACE <f> HTTP/1.1", 405),
    Row(b"CONNECT <f> HTTP/1.1", 405),
    Row(b"CONNECT x:80 HTTP/1.1", 400),
    Row(b"OPTIONS * HTTP/1.1", 400),
    Row(b"G(T <f> HTTP/1.1", 400),
    Row(b"\x16\x03\x01\x02 <f> HTTP/1.1", 400),
]

VERSIONS = [
    Row(b"GET <f> HTTP/1.0", b"GET / HTTP/1.1"),
    Row(b"GET <f> HTTP/1.2", 400, nginx=FOUND),
    Row(b"GET <f> HTTP/0.9", 400),
    Row(b"GET <f> HTTP/2.0", 400, nginx=505),
    Row(b"GET <f> HTTP/3.0", 400, nginx=505),
    Row(b"GET <f> HTTP/1.1.1", 400),
    Row(b"GET <f> HTTP/11", 400, nginx=505),
    Row(b"GET <f> http/1.1", 400),
    Row(b"GET <f> HTTP/1.1 ", 400, nginx=FOUND),
    Row(b"GET <f> HTTP /1.1", 400),
    Row(b"GET <f>", 400, nginx=NO_HEAD),
    Row(b" GET <f> HTTP/1.1", 400),
    Row(b"GET\t<f> HTTP/1.1", 400),
    Row(b"GET <f>\tHTTP/1.1", 400),
    Row(b"\r\n\r\nGET <f> HTTP/1.1", b"GET / HTTP/1.1"),
    Row(b"PRI * HTTP/2.0", 400),
    Row(b"GET <f> RTSP/1.0", FOUND, nginx=400),
]


def host(header: bytes, outcome: bytes | int, nginx: bytes | int | None = None) -> Row:
    lines = b"".join(line + b"\r\n" for line in header.split(b"|") if line)
    return Row(b"GET <f> HTTP/1.1", outcome, nginx, lines)


HOSTS = [
    host(b"Host: x.example", FOUND),
    host(b"Host: x:8080", FOUND),
    host(b"Host:x", FOUND),
    host(b"Host: x  ", FOUND),
    host(b"Host: 127.0.0.1:1", FOUND),
    host(b"Host: [::1]", FOUND),
    host(b"Host: [::1]:80", FOUND),
    host(b"Host: under_score", FOUND),
    host(b"", 400),
    host(b"Host:", 400),
    host(b"Host: x|Host: y", 400),
    host(b"Host: x|Host: x", 400),
    host(b"Host:|Host: x", 400),
    host(b"Host: x, y", 400),
    host(b"Host: x y", 400),
    host(b"Host: x/y", 400),
    host(b"Host: user@x", 400),
    host(b"Host: x:port", 400),
    host(b"Host: x:123456", 400),
    host(b"Host: [::1", 400),
    host(b"Host: x?y", 400),
    host(b"Host: \xc3\xa9", 400),
    host(b"Host: x\\y", 400),
    Row(b"GET <f> HTTP/1.0", FOUND, 400, b""),
    Row(b"GET <f> HTTP/1.0", 400, host=b"Host: x\r\nHost: y\r\n"),
    Row(b"GET http://x" + b"<f> HTTP/1.1", 400, host=b""),
    Row(b"GET http://x" + b"<f> HTTP/1.1", 400, host=b"Host: x\r\nHost: x\r\n"),
]
ROWS = TARGETS + METHODS + VERSIONS + HOSTS


def name(row: Row) -> str:
    return repr(row.line[:40] + b" " + row.host.strip())[2:-1].strip()


IDS = [name(row) for row in ROWS]


def arrived(answer: RawAnswer) -> bytes:
    """The request line as it came, from the echo of the function."""
    return Arrived.of(answer.request).line


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_arrives(front: Front, row: Row) -> None:
    answer = front.ask(row.request(SERVER))
    expected = row.through(front)
    if isinstance(expected, bytes):
        assert answer.status == 200
        assert arrived(answer) == expected
    else:
        assert answer.status == expected
        assert not answer.get(b"x-zerverless-function")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_same_for_one_container_per_request(front: Front, row: Row) -> None:
    """It has no image: what reaches it is answered with 503 in its name."""
    answer = front.ask(row.request(ONCE))
    expected = row.through(front)
    reaches = isinstance(expected, bytes)
    assert answer.status == (503 if reaches else expected)
    assert answer.get(b"x-zerverless-function") == (b"alice/once" if reaches else b"")
