"""What the gateway accepts as a request, decided once, on the path as it came.

The path is judged in its raw form; the server's decoded one cannot tell `/a%2fb` from
`/a/b`. `/alice/api` below is a deployed function:

| request path                               | answer                                  |
|--------------------------------------------|-----------------------------------------|
| `/alice/api`, `/%61lice/api`               | the function, sub_path ""               |
| `/alice/api/`                              | the function, sub_path "/"              |
| `/alice/api/a%2fb`, `/alice/api/a%2Fb`     | the function, sub_path "/a%2Fb"         |
| `/alice/api//x`, `/alice/api/x%20y`        | sub_path "//x", "/x y"                  |
| `//alice/api`, `/alice//api`               | 404: empty segments never match         |
| `/alice%2fapi`, `/Alice/api`, `/alice/apix`| 404: names match exactly                |
| `.` or `..` as a segment, in any encoding  | 400                                     |
| `%00`, `%0a`, any encoded control, DEL     | 400                                     |
| backslash, raw or `%5c`                    | 400                                     |
| `%`, `%zz`; bytes that are not UTF-8       | 400                                     |
| raw bytes outside ASCII, a path without `/`| 400                                     |
| path and query over 8 KiB                  | 414                                     |

A function that must tell `%2F` from `%252F` reads the raw path.

Methods: GET HEAD POST PUT PATCH DELETE OPTIONS. A HEAD request runs the function with
REQUEST_METHOD=HEAD and its body is dropped; OPTIONS goes to the function. TRACE and
unknown methods are 405, CONNECT is 400.

Headers: names with an underscore are dropped, because CGI and WSGI cannot tell them
from the same name with a hyphen (`X_Forwarded_For`). Two Host headers, none or a
malformed one, any transfer coding but chunked, and two lengths are 400.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from random import getrandbits
from urllib.parse import unquote_to_bytes

from django.conf import settings

from runtime.errors import (
    BadRequest,
    BodyTooLarge,
    HeadersTooLarge,
    MethodNotAllowed,
    UriTooLong,
)

Headers = list[tuple[str, str]]
RawHeaders = list[tuple[bytes, bytes]]  # names in lower case

TARGET_MAX = 8 * 1024
HEADERS_MAX = 32 * 1024
# Of a request and of an answer; more than these many a server and proxy refuses.
HEADER_LINES_MAX = 100
_SEPARATORS = len(": \r\n")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# RFC 9110 section 7.6.1, and what older proxies add.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Written by us, whatever the client sent; `proxy` would become HTTP_PROXY (httpoxy).
REPLACED = frozenset(
    {
        "expect",
        "forwarded",
        "proxy",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
        "x-forwarded-server",
        "x-real-ip",
        "x-request-id",
    }
)

# Printable ASCII; a fragment never travels, and a backslash is a slash to some.
_PATH = re.compile(rb"/[!\"$-\[\]-~]*\Z")
_QUERY = re.compile(rb"[!\"$-~]*\Z")
_ESCAPE_REFUSED = re.compile(r"%(?![0-9A-Fa-f]{2})|%[01][0-9A-Fa-f]|%7[fF]|%5[cC]")
_ENCODED_SLASH = re.compile(r"%2[fF]")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#@]+)(/.*)?\Z")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,128}\Z")


@dataclass(frozen=True)
class Target:
    """A checked path: as it came, and its decoded segments (`%2F` stays encoded)."""

    raw_path: str
    query: str
    segments: tuple[str, ...]

    def below(self, depth: int) -> str:
        """What follows the first `depth` segments: "", "/" or "/x/y"."""
        rest = self.segments[depth:]
        return "/" + "/".join(rest) if rest else ""


def read_target(raw_path: bytes, query: bytes) -> Target:
    """Check a request target; raises BadRequest or UriTooLong."""
    check_characters(raw_path, query)
    path = raw_path.decode("ascii")
    if "%" in path and _ESCAPE_REFUSED.search(path):
        raise BadRequest("The path holds a malformed or forbidden percent-encoding.")
    segments = tuple(_decode(segment) for segment in path[1:].split("/"))
    return Target(path, query.decode("ascii"), segments)


def check_characters(raw_path: bytes, query: bytes) -> None:
    """Raise where a target is too long or holds what must be percent-encoded."""
    if len(raw_path) + len(query) > TARGET_MAX:
        raise UriTooLong(f"Path and query may be at most {TARGET_MAX} bytes long.")
    if not _PATH.match(raw_path) or not _QUERY.match(query):
        raise BadRequest("The path holds characters that must be percent-encoded.")


def _decode(segment: str) -> str:
    if "%" in segment:
        # Encoded once more, the slash comes out of the decoding as it went in.
        kept = _ENCODED_SLASH.sub("%252F", segment)
        try:
            segment = unquote_to_bytes(kept).decode()
        except UnicodeDecodeError:
            raise BadRequest("The path is not UTF-8.") from None
    if segment.startswith(".") or "%2F" in segment:
        for part in segment.split("%2F"):
            if part in {".", ".."}:
                raise BadRequest("The path holds a dot segment.")
    return segment


def origin_form(url: bytes, raw: RawHeaders) -> tuple[bytes, RawHeaders]:
    """Path and headers of a request whose target is a whole URL: its host is the one
    that counts (RFC 9112 section 3.2.2). Anything else is left to be refused."""
    match = _ABSOLUTE.match(url)
    if not match or sum(name == b"host" for name, _ in raw) != 1:
        return url, raw
    others = [item for item in raw if item[0] != b"host"]
    return match[2] or b"/", [(b"host", match[1]), *others]


def read_headers(raw: RawHeaders, http_version: str) -> Headers:
    """Check and decode header lines, names in lower case.

    Raises BadRequest or HeadersTooLarge.
    """
    check_headers(raw)
    headers = [
        (name.decode("latin-1"), value.decode("latin-1").rstrip(" \t"))
        for name, value in raw
        if b"_" not in name
    ]
    coding = any(name == "transfer-encoding" for name, _ in headers)
    check_version(http_version, coding=coding)
    only_host(
        [value.encode("latin-1") for name, value in headers if name == "host"],
        http_version,
    )
    return headers


def check_headers(raw: RawHeaders) -> None:
    """Raise HeadersTooLarge where there is more than we pass on."""
    if size_of(raw) > HEADERS_MAX:
        raise HeadersTooLarge(f"All headers may be {HEADERS_MAX} bytes together.")
    if len(raw) > HEADER_LINES_MAX:
        raise HeadersTooLarge(f"A request may have {HEADER_LINES_MAX} header lines.")


def size_of(headers: Headers | RawHeaders) -> int:
    """Bytes of the whole lines: a thousand empty headers are no small matter."""
    return sum(len(name) + len(value) + _SEPARATORS for name, value in headers)


def check_version(http_version: str, *, coding: bool) -> None:
    """Raise BadRequest for a version we do not speak, or one without chunks that comes
    with a Transfer-Encoding (RFC 9112 section 6.1)."""
    if http_version not in {"1.0", "1.1"}:
        raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if coding and http_version == "1.0":
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding.")


def only_host(values: list[bytes], http_version: str) -> bytes:
    """The one Host there has to be; HTTP/1.0 may have none. Raises BadRequest."""
    host = values[0] if values else b""
    if len(values) > 1 or (not host and http_version != "1.0"):
        raise BadRequest("Exactly one Host header is needed.")
    check_host(host)
    return host


def first(headers: Headers, wanted: str) -> str:
    """The first value of a header, or an empty string."""
    for name, value in headers:
        if name == wanted:
            return value
    return ""


def first_raw(raw: RawHeaders, wanted: bytes) -> str:
    """The first value of a header that was not decoded yet, or an empty string."""
    for name, value in raw:
        if name == wanted:
            return value.decode("latin-1")
    return ""


def has_body(raw: RawHeaders) -> bool:
    """Whether a request announces a body."""
    return any(
        name == b"transfer-encoding"
        or (name == b"content-length" and value.strip(b" \t0") != b"")
        for name, value in raw
    )


def expects_continue(raw: RawHeaders) -> bool:
    """Whether the client waits to be asked for its body (RFC 9110 section 10.1.1)."""
    return first_raw(raw, b"expect").lower() == "100-continue"


def body_length(headers: Headers) -> int | None:
    """Bytes of the body: 0 without one, None when it comes in chunks.

    Raises BadRequest where the framing is ambiguous, BodyTooLarge over the limit.
    """
    lengths = [value for name, value in headers if name == "content-length"]
    codings = [value for name, value in headers if name == "transfer-encoding"]
    if codings:
        if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
            raise BadRequest("Transfer-Encoding may only be chunked, without a length.")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        raise BadRequest("Content-Length must be one decimal number.")
    if int(lengths[0]) > settings.ZERVERLESS_MAX_BODY:
        raise body_too_large()
    return int(lengths[0])


def body_too_large() -> BodyTooLarge:
    """The error for a body over the limit."""
    return BodyTooLarge(
        f"A request body may be at most {settings.ZERVERLESS_MAX_BODY} bytes."
    )


@lru_cache(maxsize=256)
def methods(allowed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The methods a function takes that lists these in its manifest, all for none.

    One that lists GET answers HEAD too (RFC 9110 section 9.3.2).
    """
    accepted = tuple(method for method in allowed or METHODS if method in METHODS)
    heads = "GET" in accepted and "HEAD" not in accepted
    return (*accepted, "HEAD") if heads else accepted


def check_method(method: str, allowed: tuple[str, ...] = ()) -> None:
    """Refuse a method no function gets, or one the manifest does not list."""
    accepted = methods(allowed)
    if method not in accepted:
        raise MethodNotAllowed("This method is not allowed here.", accepted)


def new_id() -> str:
    """A fresh invocation id: 32 hexadecimal digits. Names a request, guards nothing."""
    return getrandbits(128).to_bytes(16, "big").hex()


def request_id(raw: RawHeaders, otherwise: str) -> str:
    """The caller's X-Request-Id where it is one we accept."""
    return checked_id(first_raw(raw, b"x-request-id").encode("latin-1"), otherwise)


def checked_id(given: bytes, otherwise: str) -> str:
    """A request id from outside where we accept it."""
    return given.decode("ascii") if _REQUEST_ID.match(given) else otherwise


def is_host(text: str) -> bool:
    """Whether a text can stand in a Host header."""
    return _HOST.match(text) is not None


def check_host(host: bytes) -> None:
    """Raise BadRequest for a Host that is none; an HTTP/1.0 request may have none."""
    if host and not _HOST.match(host.decode("latin-1")):
        raise BadRequest("The Host header is malformed.")
