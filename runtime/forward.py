"""The heads of a server function's request and answer, as bytes: what is passed on,
what is taken out, what is added. One pass over each, on the gateway's hot path.

The rules are those of one-container-per-request functions (`http_request.forwardable`,
`answer.read_reply`, `function_headers`), held against them by tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from django.conf import settings

from runtime import access, function_headers, http_request
from runtime.answer import DROPPED, DROPPED_PREFIXES
from runtime.errors import BadRequest, BodyTooLarge, HeadersTooLarge, NoRoute
from runtime.exchange import Exchange
from runtime.http_request import HEADERS_MAX, HOP_BY_HOP, REPLACED, RawHeaders
from runtime.invoke import control_cookies
from runtime.route import Route

_UNFORWARDED = frozenset(name.encode() for name in HOP_BY_HOP | REPLACED)
_WATCHED = _UNFORWARDED | {b"host", b"content-length", b"cookie", b"traceparent"}
_ANSWER_DROPPED = frozenset(name.encode() for name in DROPPED)
_ANSWER_WATCHED = _ANSWER_DROPPED | {
    b"content-type",
    b"set-cookie",
    b"x-content-type-options",
}
_ANSWER_PREFIXES = tuple(prefix.encode() for prefix in DROPPED_PREFIXES)
_NOSNIFF = b"x-content-type-options: nosniff\r\n"
_SANDBOX = b"content-security-policy: %b\r\n" % function_headers.SANDBOX.encode()


@dataclass(slots=True)
class AnswerMemory:
    """What became of the header lines of the last answer: the next mostly repeats them.
    A function says its date once a second, and the rest rarely changes."""

    headers: RawHeaders | None = None
    lines: bytes = b""
    length: int | None = None


@dataclass(frozen=True)
class Place:
    """A path as a server function sees it: its own prefix taken off."""

    route: Route
    target: bytes
    prefix: bytes  # the header line X-Forwarded-Prefix
    marks: bytes  # the answer's header lines that say whose it is
    members: str  # the same for the access line
    memory: AnswerMemory = field(default_factory=AnswerMemory)

    @classmethod
    def of(cls, route: Route, target: http_request.Target, depth: int) -> Place:
        """The place of a checked path whose first `depth` segments are the route's."""
        prefix = "/" + "/".join(target.segments[:depth])
        below = target.raw_path.split("/")[depth + 1 :]
        return cls(
            route,
            ("/" + "/".join(below)).encode("ascii"),
            f"x-forwarded-prefix: {prefix}\r\n".encode(),
            *_identity(route),
        )

    def on(self, route: Route) -> Place:
        """The same place of another deployment of the function."""
        if route is self.route:
            return self
        marks, members = _identity(route)
        return replace(self, route=route, marks=marks, members=members)


def _identity(route: Route) -> tuple[bytes, str]:
    """Header lines and log members that say whose an answer is."""
    named = function_headers.identify(route)
    marks = "".join(f"{name}: {value}\r\n" for name, value in named)
    facts = {
        "namespace": route.namespace,
        "function": route.path,
        "revision": f"v{route.number}",
    }
    return marks.encode("latin-1"), access.members(facts)


@dataclass(slots=True)
class Head:
    """A request's head on its way to a function. `length` None: it comes in chunks."""

    data: bytes
    length: int | None
    upgrades: bool


@dataclass(slots=True)
class Passed:
    """What becomes of the header lines of a request, whatever its target."""

    lines: bytes
    length: bytes = b""
    coding: bytes = b""
    request_id: str = ""  # the client's own, where it is one we accept
    is_traced: bool = False
    upgrades: bool = False


def request_head(exchange: Exchange, place: Place) -> Head:
    """The head to send; raises the BadRequest family."""
    memory = exchange.connection.memory
    # A client mostly repeats itself: its headers are looked at once.
    if memory.headers == exchange.raw_headers:
        passed = memory.passed
    else:
        passed = _pass(exchange)
        memory.headers, memory.passed = exchange.raw_headers, passed
    if passed.request_id:
        exchange.request_id = passed.request_id
    method = exchange.method
    length = _body_length(passed.length, passed.coding)
    upgrades = passed.upgrades and method == "GET" and length == 0
    query = exchange.raw_query
    data = b"%b %b%b%b HTTP/1.1\r\n%b%b%b%b%b\r\n" % (
        method.encode("ascii"),
        place.target,
        b"?" if query else b"",
        query,
        passed.lines,
        _framing(method, length),
        place.prefix,
        _trace_lines(exchange, traced=passed.is_traced),
        b"connection: upgrade\r\nupgrade: websocket\r\n" if upgrades else b"",
    )
    return Head(data, length, upgrades)


def _pass(exchange: Exchange) -> Passed:
    """One look at every header line; raises the BadRequest family."""
    passed = Passed(b"")
    lines: list[bytes] = []
    hosts: list[bytes] = []
    named = b""
    for name, value in exchange.raw_headers:
        if name not in _WATCHED:
            if b"_" not in name:  # CGI cannot tell X_Y from X-Y
                lines.append(b"%b: %b\r\n" % (name, value))
        elif name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            passed.length += b"," + value if passed.length else value
        elif name == b"transfer-encoding":
            passed.coding += value
        elif name == b"connection":
            named += b"," + value.lower()
        elif name == b"upgrade":
            passed.upgrades = value.lower() == b"websocket"
        elif name == b"x-request-id":
            passed.request_id = http_request.checked_id(value, "")
        elif name == b"cookie":
            lines.append(_cookie_line(value))
        elif name == b"traceparent":
            passed.is_traced = True
            lines.append(b"traceparent: %b\r\n" % value)
    _check(exchange, hosts)
    if named not in {b"", b",keep-alive", b",close"}:
        lines = _without(lines, named)
    passed.upgrades = passed.upgrades and b"upgrade" in _tokens(named)
    host = hosts[0] if hosts else b""
    passed.lines = b"".join(
        (b"host: %b\r\n" % host, *lines, _origin_lines(exchange, host))
    )
    return passed


def _check(exchange: Exchange, hosts: list[bytes]) -> None:
    size = sum(len(name) + len(value) for name, value in exchange.raw_headers)
    if size > HEADERS_MAX:
        raise HeadersTooLarge(f"All headers may be {HEADERS_MAX} bytes together.")
    if len(hosts) > 1 or (not hosts and exchange.http_version != "1.0"):
        raise BadRequest("Exactly one Host header is needed.")
    host = hosts[0] if hosts else b""
    http_request.check_host(host)
    if not http_request.roles(host.decode("latin-1"))[0]:
        raise NoRoute("No function answers at this path.")


def _body_length(length: bytes, coding: bytes) -> int | None:
    if coding:
        if length or coding.strip().lower() != b"chunked":
            raise BadRequest("Transfer-Encoding may only be chunked, without a length.")
        return None
    if not length:
        return 0
    if not length.isdigit():
        raise BadRequest("Content-Length must be one decimal number.")
    check_size(int(length))
    return int(length)


def check_size(size: int) -> None:
    """Raise BodyTooLarge where a streamed request body is over the limit."""
    if size > settings.ZERVERLESS_MAX_STREAM:
        raise BodyTooLarge(
            f"A request body may be at most {settings.ZERVERLESS_MAX_STREAM} bytes."
        )


def _framing(method: str, length: int | None) -> bytes:
    if length is None:
        return b"transfer-encoding: chunked\r\n"
    if length or method in {"POST", "PUT", "PATCH"}:
        return b"content-length: %d\r\n" % length
    return b""


def _origin_lines(exchange: Exchange, host: bytes) -> bytes:
    """X-Forwarded-*: our own words, or what a trusted proxy said."""
    client, scheme, asked = exchange.peer, exchange.scheme, host
    if settings.ZERVERLESS_TRUSTED_PROXIES:
        headers = http_request.read_headers(exchange.raw_headers, exchange.http_version)
        origin = http_request.origin(headers, client, scheme)
        client, scheme, asked = origin.client, origin.scheme, origin.host.encode()
    return (
        b"x-forwarded-for: %b\r\nx-forwarded-host: %b\r\nx-forwarded-proto: %b\r\n"
        % (client.encode(), asked, scheme.encode())
    )


def _trace_lines(exchange: Exchange, *, traced: bool) -> bytes:
    request_id = exchange.request_id.encode("ascii")
    if traced:
        return b"x-request-id: %b\r\n" % request_id
    own = exchange.id.encode("ascii")
    # W3C Trace Context: version, trace, span, not sampled.
    return b"x-request-id: %b\r\ntraceparent: 00-%b-%b-00\r\n" % (
        request_id,
        own,
        own[:16],
    )


def _cookie_line(value: bytes) -> bytes:
    """The client's cookies without the dashboard's."""
    hidden = {name.encode() for name in control_cookies()}
    if not any(name in value for name in hidden):
        return b"cookie: %b\r\n" % value
    kept = [
        pair
        for pair in value.split(b";")
        if pair.partition(b"=")[0].strip() not in hidden
    ]
    return b"cookie: %b\r\n" % b";".join(kept).strip() if kept else b""


def _tokens(named: bytes) -> set[bytes]:
    return {token.strip() for token in named.split(b",")}


def _without(lines: list[bytes], named: bytes) -> list[bytes]:
    """What `Connection` names ends here (RFC 9110 section 7.6.1)."""
    dropped = _tokens(named) - {b"host", b"content-length"}
    return [line for line in lines if line.partition(b":")[0] not in dropped]


# -- answers --------------------------------------------------------------------------


def answer_lines(
    raw: RawHeaders, place: Place, timing: bytes
) -> tuple[bytes, int | None]:
    """Header lines for the client, and the body's length where the function said it."""
    memory = place.memory
    if memory.headers != raw:
        memory.lines, memory.length = _answer_lines(raw)
        memory.headers = raw
    return memory.lines + place.marks + timing, memory.length


def _answer_lines(raw: RawHeaders) -> tuple[bytes, int | None]:
    lines = []
    length: int | None = None
    kind = None
    sniffs = True
    for name, value in raw:
        if name not in _ANSWER_WATCHED:
            if not name.startswith(_ANSWER_PREFIXES):
                lines.append(b"%b: %b\r\n" % (name, value))
        elif name == b"content-type":
            kind = value if kind is None else b"text/html"  # two: expect the worst
            lines.append(b"content-type: %b\r\n" % value)
        elif name == b"content-length":
            length = int(value)
        elif name == b"set-cookie":
            lines.append(_set_cookie_line(value))
        elif name == b"x-content-type-options":
            sniffs = False
            lines.append(b"x-content-type-options: %b\r\n" % value)
    if sniffs:
        lines.append(_NOSNIFF)
    if _needs_sandbox(kind):
        # In addition to the function's own policy: browsers enforce every one.
        lines.append(_SANDBOX)
    return b"".join(lines), length


def _set_cookie_line(value: bytes) -> bytes:
    name, equals, _ = value.partition(b";")[0].partition(b"=")
    # `=name=value` has no name, but comes back as `name=value`.
    hidden = {b"", *(name.encode() for name in control_cookies())}
    return (
        b"set-cookie: %b\r\n" % value if equals and name.strip() not in hidden else b""
    )


def _needs_sandbox(kind: bytes | None) -> bool:
    named = [] if kind is None else [("content-type", kind.decode("latin-1"))]
    return function_headers.shares_host() and function_headers.is_active(named)
