"""Headers on their way in: what a function gets to see, and what it never does.

Threats 65, 67, 75 and 82. Each row is sent to a server function directly and through
nginx; all of them together to one that runs once for each request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from tests.fixtures.conformance import Front, Table
from tests.fixtures.raw_http import Arrived

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HIDDEN = b"zerverless_session=1; "


@dataclass
class Row:
    """`arrives` are lines (of any number with the same names), or names that do not.
    `nginx`: the same where nginx makes something else of it."""

    sent: bytes
    arrives: bytes = b""
    nginx: bytes | None = None

    def through(self, front: Front) -> bytes:
        return self.arrives if front.is_direct or self.nginx is None else self.nginx

    @property
    def name(self) -> bytes:
        return self.sent.partition(b":")[0].strip().lower()


ROWS = [
    # As they came
    Row(b"X-Any: 1", b"x-any: 1"),
    Row(b"X-Twice: 1\r\nX-Twice: 2", b"x-twice: 1\r\nx-twice: 2"),
    Row(b"X-Padded:  \t a  b \t ", b"x-padded: a  b"),
    Row(b"X-Empty:", b"x-empty: "),
    Row(b"X-Latin: \xe9\xff", b"x-latin: \xe9\xff"),
    Row(b"X!#$%&'*+-.^`|~9: 1", b"x!#$%&'*+-.^`|~9: 1", nginx=b""),
    Row(b"Authorization: Basic eDp5", b"authorization: Basic eDp5"),
    Row(b"Accept-Encoding: gzip", b"accept-encoding: gzip"),
    Row(b"Range: bytes=0-1", b"range: bytes=0-1"),
    Row(b'If-None-Match: "x"', b'if-none-match: "x"'),
    Row(b"Content-Type: a/b", b"content-type: a/b"),
    Row(b"Max-Forwards: 0", b"max-forwards: 0"),
    Row(b"Tracestate: a=b", b"tracestate: a=b"),
    Row(b"Traceparent: " + TRACE, b"traceparent: " + TRACE),
    Row(b"X-Request-Id: my.own_id-1", b"x-request-id: my.own_id-1"),
    # Between two hops only (RFC 9110 section 7.6.1)
    Row(b"Connection: keep-alive"),
    Row(b"Keep-Alive: timeout=5"),
    Row(b"TE: trailers"),
    Row(b"Trailer: X"),
    Row(b"Upgrade: websocket", nginx=b"upgrade: websocket"),
    Row(b"Proxy-Connection: close"),
    Row(b"Proxy-Authorization: x"),
    Row(b"Proxy-Authenticate: x"),
    Row(b"X-Hop: 1\r\nConnection: X-Hop", nginx=b"x-hop: 1"),
    Row(b"X-Hop: 1\r\nConnection: keep-alive, x-hop", nginx=b"x-hop: 1"),
    Row(b"X-Hop: 1\r\nConnection: close\r\nConnection: x-HOP", nginx=b"x-hop: 1"),
    Row(b"X-Kept: 1\r\nConnection: host, x-forwarded-for", b"x-kept: 1"),
    # The gateway's to say
    Row(b"Expect: 100-continue"),
    Row(b"Forwarded: for=6.6.6.6"),
    Row(b"Proxy: 6.6.6.6"),
    Row(b"X-Real-Ip: 6.6.6.6"),
    Row(b"X-Forwarded-Port: 6"),
    Row(b"X-Forwarded-Server: six"),
    Row(b"X-Forwarded-For: 6.6.6.6", b"x-forwarded-for: 127.0.0.1"),
    Row(b"X-Forwarded-Proto: https", b"x-forwarded-proto: http"),
    Row(b"X-Forwarded-Host: six", b"x-forwarded-host: x"),
    Row(b"X-Forwarded-Prefix: /six", b"x-forwarded-prefix: /alice/server"),
    # Not to be told from another name
    Row(b"X_Forwarded_For: 6.6.6.6"),
    Row(b"X_Any: 1"),
    Row(b"Content_Length: 6"),
    # The dashboard's
    Row(b"Cookie: a=b; c=d", b"cookie: a=b; c=d"),
    Row(b"Cookie: " + HIDDEN + b"a=b", b"cookie: a=b"),
    Row(b"Cookie: a=b; zerverless_session = 1 ;c=d", b"cookie: a=b; c=d"),
    Row(b"Cookie: my_zerverless_session=1", b"cookie: my_zerverless_session=1"),
    Row(b"Cookie: zerverless_session=1"),
    Row(b"Cookie: zerverless_csrf=1"),
    Row(b"Cookie: zerverless_theme=dark"),
]
IDS = [repr(row.sent)[2:42] for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_arrives(front: Front, row: Row) -> None:
    answer = front.ask(
        b"GET /alice/server HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % row.sent
    )
    assert answer.status == 200
    head = answer.request.partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")[1:]
    found = [line for line in lines if line.partition(b":")[0] == row.name]
    assert b"\r\n".join(found) == row.through(front)
    assert lines.count(b"host: x") == 1


def test_a_whole_request(table: Table) -> None:
    """What is made where the client said nothing, and in which order it comes."""
    request = b"POST /alice/server/p?q HTTP/1.1\r\nhOsT: x\r\nX: y\r\n"
    answer = table.fronts["direct"].ask(request + b"Content-Length: 1\r\n\r\nz")
    [own] = answer.all(b"x-request-id")
    assert re.fullmatch(rb"[0-9a-f]{32}", own)
    assert answer.request == (
        b"POST /p?q HTTP/1.1\r\nhost: x\r\nx: y\r\n"
        b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-host: x\r\n"
        b"x-forwarded-proto: http\r\ncontent-length: 1\r\n"
        b"x-forwarded-prefix: /alice/server\r\nx-request-id: %b\r\n"
        b"traceparent: 00-%b-%b-00\r\n\r\nz" % (own, own, own[:16])
    )


@pytest.mark.parametrize(
    "given", [b"short", b"a" * 129, b"a b c d e f", b"<script>", b"\xe9" * 9, b""]
)
def test_a_request_id_that_is_none(front: Front, given: bytes) -> None:
    answer = front.ask(
        b"GET /alice/server HTTP/1.1\r\nHost: x\r\nX-Request-Id: %b\r\n\r\n" % given
    )
    [own] = answer.all(b"x-request-id")
    assert own != given
    assert Arrived.of(answer.request).all(b"x-request-id") == [own]


def test_a_client_that_changes_its_headers(table: Table) -> None:
    """What is remembered of a connection's last request is not its next one's."""
    asked = [
        b"GET /alice/server HTTP/1.1\r\nHost: x\r\nX: 1\r\n\r\n",
        b"GET /alice/server HTTP/1.1\r\nHost: x\r\nX: 1\r\n\r\n",
        b"GET /alice/server HTTP/1.1\r\nHost: y\r\nX: 2\r\n\r\n",
        b"GET /alice/server HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /alice/server HTTP/1.1\r\nConnection: keep-alive\r\n\r\n",
    ]
    with table.fronts["direct"].client() as client:
        answers = [client.send(request).read() for request in asked]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 400]
    arrived = [Arrived.of(answer.request) for answer in answers[:4]]
    assert [one.all(b"host") for one in arrived] == [[b"x"], [b"x"], [b"y"], [b""]]
    assert [one.all(b"x") for one in arrived] == [[b"1"], [b"1"], [b"2"], []]
    ids = [one.all(b"x-request-id")[0] for one in arrived]
    assert len(set(ids)) == len(ids)


def test_the_same_for_one_container_per_request(table: Table) -> None:
    """As environment variables, in which the names are CGI's."""
    together: dict[bytes, bytes] = {}
    for row in ROWS:
        together.setdefault(row.name, row.sent)
    del together[b"connection"], together[b"expect"]
    lines = b"\r\n".join([*together.values(), b"Connection: keep-alive, x-hop"])
    answer = table.fronts["direct"].ask(
        b"GET /alice/env HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % lines
    )
    assert answer.status == 200, answer.body
    found = dict(line.split(b"=", 1) for line in answer.body.splitlines())
    assert b"6.6.6.6" not in answer.body
    for name, sent in together.items():
        if b"_" in name:
            continue  # its variable is another header's
        [arrives] = [row.arrives for row in ROWS if row.sent == sent]
        values = [line.partition(b": ")[2] for line in arrives.split(b"\r\n")]
        text = b", ".join(values).decode("latin-1")
        variable = "HTTP_" + name.decode().upper().replace("-", "_")
        if variable in {"HTTP_CONTENT_TYPE", "HTTP_X!#$%&'*+_.^`|~9"}:
            continue  # CONTENT_TYPE; and names that no variable has
        expected = text.replace("/alice/server", "/alice/env")
        assert found.get(variable.encode(), b"").decode() == expected, variable
