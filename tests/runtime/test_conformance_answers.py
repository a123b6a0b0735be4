"""What a server function answers, and what its client gets: threats 65, 66 and 67.

A platform error (502) where the answer cannot be understood in one way only; a broken
connection where it ends before its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.fixtures.conformance import Front, Table
from tests.fixtures.raw_http import RawAnswer

HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH, CHUNKED = b"Content-Length: ", b"Transfer-Encoding: chunked\r\n"
OK = LENGTH + b"2\r\n\r\nok"
PAUSE, CLOSE, RESET = ("pause", 0.05), ("close",), ("reset",)


@dataclass
class Row:
    """`says`: bytes to send, and other steps between them. What comes is `body`, None
    where that is the platform's error, and `framing` what its end is known by.

    `goes_on`: the function's connection is used again. `nginx_tells`: its client sees
    that the answer broke off.
    """

    name: str
    says: bytes | list[Any]
    status: int = 200
    body: bytes | None = b"ok"
    framing: str = "length"
    is_whole: bool = True
    goes_on: bool = True
    method: bytes = b"GET"
    version: bytes = b"1.1"
    nginx_tells: bool = True

    @property
    def steps(self) -> list[tuple[Any, ...]]:
        says = self.says if isinstance(self.says, list) else [self.says]
        return [("send", one) if isinstance(one, bytes) else one for one in says]

    def request(self, path: bytes) -> bytes:
        return b"%b %b HTTP/%b\r\nHost: x\r\n\r\n" % (self.method, path, self.version)


def bad(name: str, says: Any) -> Row:
    """An answer nobody may pass on."""
    return Row(name, says, 502, None, goes_on=False)


def cut(name: str, says: Any, body: bytes, framing: str, **more: Any) -> Row:
    """An answer that breaks off when its head has been passed on."""
    return Row(name, says, 200, body, framing, is_whole=False, goes_on=False, **more)


def head(name: str, says: Any, **more: Any) -> Row:
    """An answer without a body."""
    more = {"body": b"", "framing": "none", "goes_on": False, **more}
    return Row(name, says, method=b"HEAD", **more)


ROWS = [
    Row("length", HEAD + OK),
    Row("length 0", HEAD + LENGTH + b"0\r\n\r\n", body=b""),
    Row("padded length", HEAD + b"Content-Length:  2 \r\n\r\nok"),
    Row("head, then body", [HEAD + LENGTH + b"2\r\n\r\n", PAUSE, b"ok"]),
    Row("byte by byte", [HEAD[:9], PAUSE, HEAD[9:], PAUSE, OK[:-1], PAUSE, OK[-1:]]),
    Row("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    Row("LF behind CRLF", HEAD + b"A: b\nContent-Length: 2\n\nok"),
    Row("chunks at once", HEAD + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n"),
    Row(
        "chunks in time",
        [HEAD + CHUNKED + b"\r\n1\r\no\r\n", PAUSE, b"1\r\nk\r\n", PAUSE, b"0\r\n\r\n"],
        framing="chunks",
    ),
    Row("extension", HEAD + CHUNKED + b"\r\n2;a=b\r\nok\r\n0\r\n\r\n"),
    Row("trailer", HEAD + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n"),
    Row(
        "until the end",
        [HEAD + b"\r\nok", PAUSE, CLOSE],
        framing="chunks",
        goes_on=False,
    ),
    Row(
        "until the end, for HTTP/1.0",
        [HEAD + b"\r\nok", PAUSE, CLOSE],
        framing="close",
        goes_on=False,
        version=b"1.0",
    ),
    Row(
        "chunks, for HTTP/1.0",
        [HEAD + CHUNKED + b"\r\n2\r\nok\r\n", PAUSE, b"0\r\n\r\n"],
        framing="close",
        version=b"1.0",
    ),
    Row("HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + OK, goes_on=False),
    Row("close", HEAD + b"Connection: close\r\n" + OK, goes_on=False),
    Row("closes without a word", [("last", HEAD + OK)], goes_on=False),
    Row("no reason", b"HTTP/1.1 200\r\n" + OK),
    Row("odd reason", b"HTTP/1.1 200 <b>\xe9\r\n" + OK),
    Row("an empty line more", HEAD + OK + b"\r\n"),
    # Without a body
    Row("204", b"HTTP/1.1 204 X\r\n\r\n", 204, b"", "none"),
    Row("304", b"HTTP/1.1 304 X\r\n\r\n", 304, b"", "none"),
    Row(
        "304 with a length", b"HTTP/1.1 304 X\r\n%b9\r\n\r\n" % LENGTH, 304, b"", "none"
    ),
    Row("204 with a body", b"HTTP/1.1 204 X\r\n" + OK, 204, b"", "none", goes_on=False),
    head("HEAD", HEAD + LENGTH + b"9\r\n\r\n"),
    head("HEAD without a length", HEAD + b"\r\n"),
    head("HEAD with chunks", HEAD + CHUNKED + b"\r\n"),
    head("HEAD with a body", HEAD + OK),
    head("HEAD and 404", b"HTTP/1.1 404 X\r\n" + LENGTH + b"9\r\n\r\n", status=404),
    # Statuses
    *(
        Row(str(code), b"HTTP/1.1 %d X\r\n" % code + OK, code)
        for code in (201, 206, 226, 299, 302, 400, 404, 418, 500, 502, 599)
    ),
    *(
        bad(f"status {code}", f"HTTP/1.1 {code} X\r\n".encode() + OK)
        for code in ("0", "20", "099", "199", "600", "999", "1000", "-200", "abc", "")
    ),
    bad(
        "101 unasked",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ),
    bad("101 without Upgrade", b"HTTP/1.1 101 X\r\n\r\n"),
    Row("100 unasked", b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + OK),
    Row("102", [b"HTTP/1.1 102 X\r\n\r\n", PAUSE, HEAD + OK]),
    Row("103 without links", b"HTTP/1.1 103 X\r\nA: b\r\n\r\n" + HEAD + OK),
    bad("endless interim answers", b"HTTP/1.1 102 X\r\nA: b\r\n\r\n" * 3000),
    # Framing that could be read in two ways
    bad("two lengths", HEAD + LENGTH + b"2\r\n" + OK),
    bad("two other lengths", HEAD + LENGTH + b"3\r\n" + OK),
    bad("listed lengths", HEAD + b"Content-Length: 2, 2\r\n\r\nok"),
    bad("negative length", HEAD + b"Content-Length: -2\r\n\r\nok"),
    bad("hex length", HEAD + b"Content-Length: 0x2\r\n\r\nok"),
    bad("empty length", HEAD + b"Content-Length:\r\n\r\nok"),
    bad("length and chunks", HEAD + LENGTH + b"2\r\n" + CHUNKED + b"\r\n0\r\n\r\n"),
    bad("chunks and length", HEAD + CHUNKED + OK),
    bad("chunks and length behind LF", HEAD + b"Content-Length: 2\n" + CHUNKED + OK),
    bad("gzip", HEAD + b"Transfer-Encoding: gzip\r\n\r\nok"),
    bad("gzip, chunked", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    bad("identity", HEAD + b"Transfer-Encoding: identity\r\n\r\nok"),
    bad("no coding", HEAD + b"Transfer-Encoding:\r\n\r\nok"),
    # Not HTTP
    bad("nothing", [CLOSE]),
    bad("a reset", [RESET]),
    bad("half a head", [HEAD + b"A: b", CLOSE]),
    bad("words", b"hello\r\n\r\n"),
    bad("small letters", b"http/1.1 200 OK\r\n" + OK),
    bad("HTTP/1.2", b"HTTP/1.2 200 OK\r\n" + OK),
    bad("folded", HEAD + b"A: b\r\n c\r\n" + OK),
    bad("space before colon", HEAD + b"A : b\r\n" + OK),
    bad("space in name", HEAD + b"A B: c\r\n" + OK),
    bad("no colon", HEAD + b"A\r\n" + OK),
    bad("NUL", HEAD + b"A: b\0c\r\n" + OK),
    bad("CR", HEAD + b"A: b\rc\r\n" + OK),
    bad("control", HEAD + b"A: b\x01c\r\n" + OK),
    bad("too large a head", HEAD + b"A: %b\r\n" % (b"b" * 50_000) + OK),
    Row("a large head", HEAD + b"A: %b\r\n" % (b"b" * 40_000) + OK),
    # More than was asked for: never anybody's answer
    Row("too much", HEAD + OK + b"more", goes_on=False),
    Row("two answers", (HEAD + OK) * 2, goes_on=False),
    Row("half an answer more", HEAD + OK + b"HTTP/1", goes_on=False),
    # Broken off
    cut("short", [HEAD + LENGTH + b"9\r\n\r\nok", PAUSE, CLOSE], b"ok", "length"),
    cut("short and reset", [HEAD + LENGTH + b"9\r\n\r\n", PAUSE, RESET], b"", "length"),
    cut(
        "no last chunk",
        [HEAD + CHUNKED + b"\r\n2\r\nok\r\n", PAUSE, CLOSE],
        b"ok",
        "chunks",
    ),
    cut(
        "half a chunk", [HEAD + CHUNKED + b"\r\n9\r\nok", PAUSE, CLOSE], b"ok", "chunks"
    ),
    cut(
        "bare LF in chunks",
        [HEAD + CHUNKED + b"\r\n2\r\nok\r\n", PAUSE, b"2\nok\n0\n\n"],
        b"ok",
        "chunks",
    ),
    cut(
        "bad chunk",
        [HEAD + CHUNKED + b"\r\n2\r\nok\r\n", PAUSE, b"z\r\n"],
        b"ok",
        "chunks",
    ),
    cut(
        "no last chunk, for HTTP/1.0",
        [HEAD + CHUNKED + b"\r\n2\r\nok\r\n", PAUSE, CLOSE],
        b"ok",
        "close",
        version=b"1.0",
        nginx_tells=False,
    ),
    cut("reset until the end", [HEAD + b"\r\nok", PAUSE, RESET], b"ok", "chunks"),
]
IDS = [row.name for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_what_comes_back(front: Front, row: Row) -> None:
    run = front.script(*row.steps)
    with front.client() as client:
        answer = client.send(row.request(run.path)).read(row.method.decode())
        assert answer.status == row.status
        if row.body is None:
            assert answer.error == b"ZV502"
        else:
            assert (answer.error, answer.body) == (b"", row.body)
        assert answer.is_whole == (
            row.is_whole or not (front.is_direct or row.nginx_tells)
        )
        assert answer.trailers == b""
        if front.is_direct:
            assert answer.framing == row.framing
            assert client.goes_on == (row.is_whole and answer.framing != "close")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_next_request(table: Table, row: Row) -> None:
    """It gets its own answer, on the same connection only where that is clean."""
    run = table.fronts["direct"].script(*row.steps)
    for _ in range(2):
        table.fronts["direct"].ask(row.request(run.path))
    first, second = (seen["connection"] for seen in run.journal)
    assert (first == second) == row.goes_on
    echo = table.fronts["direct"].ask(
        b"GET /alice/server/x HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert echo.request.startswith(b"GET /x HTTP/1.1\r\n")


# -- headers --------------------------------------------------------------------------

DROPPED = b"""Connection: x-a|Keep-Alive: timeout=5|Proxy-Authenticate: Basic
TE: trailers|Proxy-Connection: close|Trailer: X|Upgrade: h2c|Server: mine|Date: never
Clear-Site-Data: "*"|Service-Worker-Allowed: /|Strict-Transport-Security: max-age=9
Alt-Svc: h3|Public-Key-Pins: x|Expect-CT: x|NEL: {}|Report-To: {}
Origin-Agent-Cluster: ?1|Accept-CH: x|X-Request-Id: forged-one|X-Sendfile: /etc/passwd
X-Accel-Redirect: /x|X-Accel-Buffering: no|Proxy-Anything: x|X-LIGHTTPD-send-file: /x
X-Zerverless-Error: ZV500|X-Zerverless-Revision: v9|X-Zerverless-Anything: x
Set-Cookie: zerverless_session=1|Set-Cookie:  zerverless_csrf =1; Path=/|Set-Cookie: x
Set-Cookie: =zerverless_session=1|Set-Cookie: zerverless_any=1|Set-Cookie: __Host-a=1
Set-Login: logged-in|Use-As-Dictionary: match="/*"|Accept-CH-Lifetime: 9|Origin-Trial: x
Secure-Session-Registration: (ES256);path="/x"|Sec-Session-Challenge: "x"
X-Content-Type-Options: sniff""".replace(b"\n", b"|").split(b"|")

KEPT = b"""Content-Type: text/plain|Location: /else|ETag: "x"|Cache-Control: no-store
WWW-Authenticate: Bearer realm="a"|Refresh: 9|SourceMap: /x
Content-Security-Policy: img-src *|Vary: a|Link: </x>; rel=preload
X-Any:  \t padded|X-Empty:|X-Latin: \xe9
Access-Control-Allow-Origin: *|Server-Timing: db;dur=1|Retry-After: 1
Content-Encoding: br|X-Frame-Options: DENY""".replace(b"\n", b"|").split(b"|")


def answered(front: Front, *lines: bytes) -> RawAnswer:
    """The answer of a function that sends these header lines."""
    run = front.script(("send", HEAD + b"".join(b"%b\r\n" % one for one in lines) + OK))
    return front.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % run.path)


def parts(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value.strip()


def test_headers_that_end_here(front: Front) -> None:
    answer = answered(front, *DROPPED)
    assert answer.body == b"ok"
    for line in DROPPED:
        name, value = parts(line)
        assert value not in [found.strip() for found in answer.all(name)]


def test_headers_that_pass(front: Front) -> None:
    answer = answered(front, *KEPT)
    for line in KEPT:
        name, value = parts(line)
        assert value in [found.strip() for found in answer.all(name)], line


def test_cookies_live_below_their_function(front: Front) -> None:
    """Threat 136."""
    asked = b"own=1; Path=/", b"my_zerverless_session=1; Domain=x; HttpOnly"
    answer = answered(front, *(b"Set-Cookie: " + cookie for cookie in asked))
    assert answer.all(b"set-cookie") == [
        b"own=1; Path=/alice/server",
        b"my_zerverless_session=1; HttpOnly; Path=/alice/server",
    ]
    answer = answered(front, b"Set-Cookie: large=" + b"x" * 5000)
    assert (answer.status, answer.error) == (502, b"ZV502")
    assert b"its cookie 'large' is over 4 KiB" in answer.body


def test_the_realm_of_a_password_is_the_functions_own(front: Front) -> None:
    """Threat 136: or a browser would show it to whoever asks for the same realm."""
    answer = answered(front, b'WWW-Authenticate: Basic realm="a"')
    assert answer.all(b"www-authenticate") == [b'Basic realm="/alice/server a"']


def test_what_is_added(front: Front) -> None:
    answer = answered(front, b"Content-Type: text/plain")
    assert answer.get(b"x-zerverless-function") == b"alice/server"
    assert answer.get(b"x-zerverless-revision") == b"v1"
    assert answer.get(b"server-timing").startswith(b"queue;dur=")
    assert answer.get(b"x-content-type-options") == b"nosniff"
    assert len(answer.all(b"x-request-id")) == len(answer.all(b"date")) == 1
    assert not answer.error


@pytest.mark.parametrize(
    ("kinds", "is_active"),
    [
        ([b"text/html"], True),
        ([b"Text/HTML; charset=utf-8"], True),
        ([b"application/xhtml+xml"], True),
        ([b"image/svg+xml"], True),
        ([b"application/xml"], True),
        ([b"multipart/x-mixed-replace"], True),
        ([], True),
        ([b"text/xsl"], True),
        ([b"application/pdf"], True),
        ([b'text/plain; a="b, text/html"'], True),
        ([b"text/plain"], False),
        ([b"TEXT/Plain; charset=utf-8"], False),
        ([b"application/json"], False),
        ([b"image/png"], False),
        ([b"text/event-stream"], False),
    ],
)
def test_the_sandbox(front: Front, kinds: list[bytes], *, is_active: bool) -> None:
    """Threats 64 and 135: beside the function's own policy, which cannot replace it."""
    own = b"default-src 'self'"
    lines = [b"Content-Type: " + kind for kind in kinds]
    answer = answered(front, b"Content-Security-Policy: " + own, *lines)
    sandbox = b"sandbox allow-scripts allow-forms allow-popups"
    assert answer.all(b"content-security-policy") == [own, *[sandbox] * is_active]


@pytest.mark.parametrize("status", [b"206", b"304"])
def test_what_changes_a_stored_page_has_the_sandbox(
    front: Front, status: bytes
) -> None:
    """Threat 135: a browser takes over its headers for what it has kept."""
    lines = b"Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
    run = front.script(("send", b"HTTP/1.1 %b X\r\n" % status + lines))
    answer = front.ask(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % run.path)
    assert answer.get(b"content-security-policy").startswith(b"sandbox ")


@pytest.mark.parametrize(
    "kinds",
    [
        [b""],
        [b"nonsense"],
        [b"text/plain, text/html"],
        [b"text/plain; text/html"],
        [b"text/plain", b"text/html"],
        [b"text/plain", b"text/plain"],
    ],
)
def test_a_content_type_that_is_not_one_is_refused(
    front: Front, kinds: list[bytes]
) -> None:
    """Threat 135: with the reason, and the next request is answered."""
    answer = answered(front, *(b"Content-Type: " + kind for kind in kinds))
    assert (answer.status, answer.error) == (502, b"ZV502")
    assert b"Content-Type" in answer.body
    assert answered(front, b"Content-Type: text/plain").status == 200
