"""What a function wrote, turned into status, headers and body. Pure.

Three modes: `raw` (standard output is the body), `cgi` (RFC 3875: headers, a blank
line, the body) and `json` (`{"status": …, "headers": …, "body": …}`). Headers pass a
filter, because functions share their host with each other and often with the dashboard.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runtime import strict_json
from runtime.bounds import Bounds
from runtime.errors import FunctionFailed
from runtime.http_request import HEADER_LINES_MAX, size_of

Headers = list[tuple[str, str]]

HEADER_BYTES_MAX = 32 * 1024
_TEXT = "text/plain; charset=utf-8"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_BODY = frozenset({204, 205, 304})
# Framing and hop-by-hop belong to the gateway; the others act on the whole host (and
# so on the dashboard and on other tenants), or steer the proxy in front of us.
DROPPED = frozenset(
    """
    connection keep-alive proxy-authenticate proxy-authorization proxy-connection
    te trailer transfer-encoding upgrade content-length date server
    clear-site-data service-worker-allowed strict-transport-security alt-svc
    public-key-pins public-key-pins-report-only expect-ct nel report-to
    origin-agent-cluster accept-ch accept-ch-lifetime critical-ch set-login
    use-as-dictionary origin-trial critical-origin-trial
    secure-session-registration secure-session-challenge secure-session-skipped
    sec-session-registration sec-session-challenge sec-session-id
    x-request-id x-sendfile x-lighttpd-send-file
    """.split()  # noqa: SIM905
)
DROPPED_PREFIXES = ("x-zerverless-", "x-accel-", "proxy-")


@dataclass(frozen=True)
class Reply:
    """An answer as the function meant it, fit to be sent."""

    status: int
    headers: Headers
    body: bytes


def read_reply(stdout: bytes, mode: str, content_type: str, bounds: Bounds) -> Reply:
    """The reply in `stdout`; raises FunctionFailed saying what is wrong with it."""
    if mode == "cgi":
        reply = _cgi(stdout, content_type)
    elif mode == "json":
        reply = _json(stdout, content_type)
    else:
        reply = Reply(200, [], stdout)
    headers = _checked(reply.headers, bounds)
    body = b"" if reply.status in _NO_BODY else reply.body
    if body and not any(name == "content-type" for name, _ in headers):
        headers.insert(0, ("content-type", content_type or _guess(body)))
    if refusal := bounds.refusal(
        _all(headers, "content-type"), _all(headers, "set-cookie")
    ):
        raise _bad(refusal)
    return Reply(reply.status, headers, body)


def _guess(body: bytes) -> str:
    if body.lstrip()[:1] in {b"{", b"["} and _is_json(body):
        return "application/json"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return _TEXT


def _is_json(body: bytes) -> bool:
    try:
        strict_json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


# -- cgi ------------------------------------------------------------------------------


def _cgi(stdout: bytes, content_type: str) -> Reply:
    head, body = _split(stdout)
    headers: Headers = []
    status: int | None = None
    for line in head:
        name, colon, value = line.partition(":")
        if not colon:
            raise _bad(f"the line {_shown(line)} is not a header")
        if name.lower() == "status":
            status = _cgi_status(value.strip())
        else:
            headers.append((name, value.strip(" \t")))
    if status is None:
        redirect = any(name.lower() == "location" for name, _ in headers)
        status = 302 if redirect else 200
    return Reply(status, headers, body)


def _split(stdout: bytes) -> tuple[list[str], bytes]:
    """The header lines, and the body behind the first empty line."""
    lines: list[str] = []
    start = 0
    while (end := stdout.find(b"\n", start, HEADER_BYTES_MAX + start)) >= 0:
        line = stdout[start:end].removesuffix(b"\r")
        start = end + 1
        if not line:
            return lines, stdout[start:]
        if start > HEADER_BYTES_MAX:
            break
        lines.append(line.decode("latin-1"))
    raise _bad("it has no empty line between headers and body")


def _cgi_status(value: str) -> int:
    match = re.match(r"([0-9]{3})(?: |\Z)", value)
    if not match:
        raise _bad(f"its Status {_shown(value)} is not a number from 200 to 599")
    return _status(int(match[1]))


# -- json -----------------------------------------------------------------------------

_KEYS = {"status", "headers", "body", "isBase64Encoded"}


def _json(stdout: bytes, content_type: str) -> Reply:
    try:
        data = strict_json.loads(stdout)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it is not JSON: {error}") from None
    if not isinstance(data, dict) or not data.keys() & {"status", "headers", "body"}:
        raise _bad("it is not a JSON object with status, headers or body")
    if unknown := sorted(data.keys() - _KEYS):
        raise _bad(f"the key {_shown(unknown[0])} is not one of {sorted(_KEYS)}")
    body, kind = _json_body(data.get("body"), data.get("isBase64Encoded", False))
    headers = _json_headers(data.get("headers"))
    if body and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", content_type or kind))
    return Reply(_status(data.get("status", 200)), headers, body)


def _json_body(body: Any, encoded: object) -> tuple[bytes, str]:
    if not isinstance(encoded, bool):
        raise _bad("isBase64Encoded is not true or false")
    if body is None:
        return b"", _TEXT
    if not isinstance(body, str):
        return _dumped(body), "application/json"
    if not encoded:
        return body.encode("utf-8", "replace"), _TEXT
    try:
        return base64.b64decode(body, validate=True), "application/octet-stream"
    except (binascii.Error, ValueError):
        raise _bad("its body is not base64") from None


def _dumped(body: Any) -> bytes:
    try:
        return strict_json.dumps(body)
    except ValueError:
        raise _bad("a number in its body is too large") from None


def _json_headers(headers: Any) -> Headers:
    if headers is None:
        return []
    if not isinstance(headers, dict):
        raise _bad("its headers are not an object")
    result: Headers = []
    for name, value in headers.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, bool) or not isinstance(item, str | int | float):
                raise _bad(f"the header {_shown(name)} is not text or a list of texts")
            result.append((name, str(item)))
    return result


# -- what may be sent -----------------------------------------------------------------


def _status(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise _bad(f"its status {_shown(repr(value))} is not a number from 200 to 599")
    return value


def _checked(headers: Headers, bounds: Bounds) -> Headers:
    kept = []
    for name, value in headers:
        if not _is_dropped(_name(name)):
            passed = bounds.passed(name.lower(), _value(name, value))
            kept += [] if passed is None else [(name.lower(), passed)]
    if len(kept) > HEADER_LINES_MAX:
        raise _bad(f"it has over {HEADER_LINES_MAX} headers")
    if size_of(kept) > HEADER_BYTES_MAX:
        raise _bad(f"its headers are over {HEADER_BYTES_MAX // 1024} KiB")
    return kept


def _name(name: str) -> str:
    if not _TOKEN.match(name):
        raise _bad(f"{_shown(name)} is not a header name")
    return name.lower()


def _value(name: str, value: str) -> str:
    value = value.strip(" \t")
    try:
        # What is not latin-1 goes out as UTF-8 bytes, which every client understands.
        value.encode("latin-1")
    except UnicodeEncodeError:
        try:
            value = value.encode().decode("latin-1")
        except UnicodeEncodeError:
            raise _bad(f"the header {_shown(name)} is not text") from None
    if _CONTROL.search(value):
        raise _bad(f"the header {_shown(name)} holds a control character")
    return value


def _is_dropped(name: str) -> bool:
    return name in DROPPED or name.startswith(DROPPED_PREFIXES)


def _all(headers: Headers, wanted: str) -> list[str]:
    return [value for name, value in headers if name == wanted]


def _shown(text: Iterable[str]) -> str:
    """A piece of the function's output, short and harmless enough for a message."""
    return ascii("".join(text)[:60])


def _bad(reason: str) -> FunctionFailed:
    return FunctionFailed(f"The function's answer cannot be used: {reason}.")
