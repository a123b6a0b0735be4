"""The header lines of a server function's answer, as bytes: what is passed back.

One pass, on the gateway's hot path.

The rules are those of one-container-per-request functions (`answer.read_reply`,
`function_headers`), held against them by tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime import function_headers
from runtime.answer import DROPPED, DROPPED_PREFIXES
from runtime.errors import FunctionFailed
from runtime.http_request import HEADER_LINES_MAX, RawHeaders, size_of
from runtime.invoke import control_cookies

# With ours they still fit into the 64 KiB that proxies can be told to take.
HEADERS_MAX = 48 * 1024
_DROPPED = frozenset(name.encode() for name in DROPPED)
_READ = (b"content-type", b"content-length", b"transfer-encoding", b"set-cookie")
_PREFIXES = tuple(prefix.encode() for prefix in DROPPED_PREFIXES)
_NOSNIFF = b"x-content-type-options: nosniff\r\n"
_SANDBOX = b"content-security-policy: %b\r\n" % function_headers.SANDBOX.encode()


@dataclass(slots=True)
class AnswerLines:
    """What became of the header lines of the last answer: the next mostly repeats them.
    A function says its date once a second, and the rest rarely changes."""

    lines: bytes = b""
    length: int | None = None  # of the body, where the function said it
    _raw: RawHeaders | None = None

    def read(self, raw: RawHeaders) -> None:
        """Set `lines` and `length` for these; raises FunctionFailed."""
        if self._raw != raw:
            self.lines, self.length = _answer_lines(raw)
            self._raw = raw


def _answer_lines(raw: RawHeaders) -> tuple[bytes, int | None]:
    """Raises FunctionFailed."""
    _check_size(raw)
    lines: list[bytes] = []
    seen: dict[bytes, list[bytes]] = {name: [] for name in _READ}
    for name, value in raw:
        if name in seen:
            seen[name].append(value)
        elif name not in _DROPPED and not name.startswith(_PREFIXES):
            lines.append(b"%b: %b\r\n" % (name, value))
    codings = {value.strip().lower() for value in seen[b"transfer-encoding"]}
    if not codings <= {b"chunked"}:
        # Without the header nobody could read what is left.
        raise FunctionFailed("The function's Transfer-Encoding is not chunked.")
    lines += map(_set_cookie_line, seen[b"set-cookie"])
    lines += (b"content-type: %b\r\n" % kind for kind in seen[b"content-type"])
    if not any(line.startswith(b"x-content-type-options:") for line in lines):
        lines.append(_NOSNIFF)
    if _needs_sandbox(seen[b"content-type"]):
        # In addition to the function's own policy: browsers enforce every one.
        lines.append(_SANDBOX)
    lengths = seen[b"content-length"]
    return b"".join(lines), int(lengths[0]) if lengths else None


def _check_size(raw: RawHeaders) -> None:
    if size_of(raw) > HEADERS_MAX:
        limit = f"{HEADERS_MAX // 1024} KiB"
        raise FunctionFailed(f"The headers of the function's answer are over {limit}.")
    if len(raw) > HEADER_LINES_MAX:
        raise FunctionFailed(
            f"The function's answer has over {HEADER_LINES_MAX} headers."
        )


def _set_cookie_line(value: bytes) -> bytes:
    name, equals, _ = value.partition(b";")[0].partition(b"=")
    # `=name=value` has no name, but comes back as `name=value`.
    hidden = {b"", *(name.encode() for name in control_cookies())}
    return (
        b"set-cookie: %b\r\n" % value if equals and name.strip() not in hidden else b""
    )


def _needs_sandbox(kinds: list[bytes]) -> bool:
    if not function_headers.shares_host():
        return False
    if len(kinds) > 1:
        return True  # expect the worst
    named = [("content-type", kind.decode("latin-1")) for kind in kinds]
    return function_headers.is_active(named)
