"""The head of a server function's request, as bytes: what is passed on, and added.

One pass, on the gateway's hot path.

The rules are those of one-container-per-request functions (`origin.forwardable`), held
against them by tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.conf import settings

from runtime import access, cookies, function_headers, http_request
from runtime.answer_lines import AnswerLines
from runtime.bounds import bounds_of, prefix_of
from runtime.errors import BadRequest, BodyTooLarge, NoRoute
from runtime.exchange import Exchange
from runtime.hosts import role_of
from runtime.http_request import HOP_BY_HOP, REPLACED
from runtime.origin import origin_of
from runtime.route import Route
from runtime.routes import RouteTable

_UNFORWARDED = frozenset(name.encode() for name in HOP_BY_HOP | REPLACED)
_READ = (
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"cookie",
    b"traceparent",
    b"x-request-id",
)
_OURS = cookies.PREFIX.encode()
_UPGRADE = b"connection: upgrade\r\nupgrade: websocket\r\n"


@dataclass(frozen=True, eq=False)
class Place:
    """A path as a server function sees it: its own prefix taken off."""

    route: Route
    depth: int  # how many segments of the path are the function's own
    own_host: bool  # whether it came to the host name of its namespace alone
    target: bytes
    prefix: bytes  # the header line X-Forwarded-Prefix; empty at a host's root
    marks: bytes  # the answer's header lines that say whose it is
    members: str  # the same for the access line
    methods: tuple[str, ...]  # that the function takes
    answers: AnswerLines

    @classmethod
    def of(
        cls,
        route: Route,
        target: http_request.Target,
        depth: int,
        *,
        own_host: bool = False,
    ) -> Place:
        """The place of a checked path whose first `depth` segments are the route's."""
        prefix = prefix_of(route, own_host=own_host)
        below = target.raw_path.split("/")[depth + 1 :]
        return cls(
            route,
            depth,
            own_host,
            ("/" + "/".join(below)).encode("ascii"),
            f"x-forwarded-prefix: {prefix}\r\n".encode() if prefix else b"",
            *_identity(route),
            AnswerLines(bounds_of(route, target.raw_path, own_host=own_host)),
        )

    @classmethod
    def find(
        cls, table: RouteTable, target: http_request.Target, namespace: str | None
    ) -> Place | None:
        """Where a checked path leads; `namespace`, where the host's name says it."""
        own_host = namespace is not None
        above = () if namespace is None else (namespace,)
        segments = (*above, *target.segments)
        if (found := table.find(segments)) is None:
            return None
        route, depth = found
        return cls.of(route, target, depth - own_host, own_host=own_host)

    def on(self, route: Route) -> Place:
        """The same place of another deployment of the function."""
        if route is self.route:
            return self
        marks, members, methods = _identity(route)
        return replace(self, route=route, marks=marks, members=members, methods=methods)


def _identity(route: Route) -> tuple[bytes, str, tuple[str, ...]]:
    """Header lines and log members that say whose an answer is, and its methods."""
    named = function_headers.identify(route)
    marks = "".join(f"{name}: {value}\r\n" for name, value in named)
    facts = {
        "namespace": route.namespace,
        "function": route.path,
        "revision": f"v{route.number}",
    }
    methods = http_request.methods(route.config.methods)
    return marks.encode("latin-1"), access.members(facts), methods


@dataclass(slots=True)
class Passed:
    """What becomes of the header lines of a request, whatever its target."""

    lines: bytes
    length: bytes = b""
    coding: bytes = b""
    request_id: str = ""  # the client's own, where it is one we accept
    is_traced: bool = False


@dataclass(slots=True)
class Start:
    """Of a request's head, all that stays the same where it is repeated."""

    data: bytes
    length: int | None  # of its body; None: it comes in chunks


def request_head(exchange: Exchange, place: Place) -> tuple[bytes, int | None]:
    """The head to send, and the length of the body, None where it comes in chunks;
    raises the BadRequest family."""
    memory = exchange.connection.memory
    said = (exchange.http_version, exchange.raw_headers)
    if memory.said != said:
        memory.passed = _pass(exchange)
        memory.said, memory.asked = said, None
    asked = (place, exchange.method, exchange.raw_query, exchange.asks_upgrade)
    if memory.asked != asked:
        memory.start = _start(exchange, place, memory.passed)
        memory.asked = asked
    passed, start = memory.passed, memory.start
    own = exchange.id.encode("ascii")
    if passed.request_id:
        exchange.request_id = passed.request_id
    if passed.is_traced:
        given = exchange.request_id.encode("ascii")
        data = b"%bx-request-id: %b\r\n\r\n" % (start.data, given)
    else:
        # W3C Trace Context: version, trace, span, not sampled.
        data = b"%bx-request-id: %b\r\ntraceparent: 00-%b-%b-00\r\n\r\n" % (
            start.data,
            passed.request_id.encode("ascii") or own,
            own,
            own[:16],
        )
    return data, start.length


def _start(exchange: Exchange, place: Place, passed: Passed) -> Start:
    """Raises BadRequest and BodyTooLarge."""
    method, query = exchange.method, exchange.raw_query
    length = _body_length(passed.length, passed.coding)
    data = b"%b %b%b%b HTTP/1.1\r\n%b%b%b%b" % (
        method.encode("ascii"),
        place.target,
        b"?" if query else b"",
        query,
        passed.lines,
        _framing(method, length),
        place.prefix,
        _UPGRADE if exchange.asks_upgrade else b"",
    )
    return Start(data, length)


def _pass(exchange: Exchange) -> Passed:
    """One look at every header line; raises the BadRequest family."""
    lines: list[bytes] = []
    seen: dict[bytes, list[bytes]] = {name: [] for name in _READ}
    for name, padded in exchange.raw_headers:
        value = padded.rstrip(b" \t")
        if name in seen:
            seen[name].append(value)
        elif name not in _UNFORWARDED and b"_" not in name:  # CGI: X_Y is X-Y
            lines.append(b"%b: %b\r\n" % (name, value))
    lines += map(_cookie_line, seen[b"cookie"])
    lines += (b"traceparent: %b\r\n" % value for value in seen[b"traceparent"])
    if seen[b"connection"]:
        lines = _without(lines, seen[b"connection"])
    coding = b",".join(seen[b"transfer-encoding"])
    http_request.check_version(exchange.http_version, coding=bool(coding))
    http_request.check_headers(exchange.raw_headers)
    host = http_request.only_host(seen[b"host"], exchange.http_version)
    return Passed(
        b"".join((b"host: %b\r\n" % host, *lines, _origin_lines(exchange, host))),
        length=b",".join(seen[b"content-length"]),
        coding=coding,
        request_id=http_request.checked_id(b"".join(seen[b"x-request-id"][:1]), ""),
        is_traced=bool(seen[b"traceparent"]),
    )


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
    client, scheme, asked = exchange.peer, exchange.scheme, host.decode("ascii")
    if settings.ZERVERLESS_TRUSTED_PROXIES:
        headers = http_request.read_headers(exchange.raw_headers, exchange.http_version)
        origin = origin_of(headers, client, scheme)
        client, scheme, asked = origin.client, origin.scheme, origin.host
    if not role_of(asked).functions:
        raise NoRoute("No function answers at this path.")
    return (
        f"x-forwarded-for: {client}\r\n"
        f"x-forwarded-host: {asked}\r\n"
        f"x-forwarded-proto: {scheme}\r\n"
    ).encode("latin-1")


def _cookie_line(value: bytes) -> bytes:
    """The client's cookies without the dashboard's."""
    if _OURS in value:
        value = cookies.without_ours(value.decode("latin-1")).encode("latin-1")
    return b"cookie: %b\r\n" % value if value else b""


def _without(lines: list[bytes], connection: list[bytes]) -> list[bytes]:
    """What `Connection` names ends here (RFC 9110 section 7.6.1)."""
    named = {token.strip().lower() for token in b",".join(connection).split(b",")}
    if named <= {b"keep-alive", b"close"}:
        return lines
    return [line for line in lines if line.partition(b":")[0] not in named]
