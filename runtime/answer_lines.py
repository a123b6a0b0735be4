"""The header lines of a server function's answer, as bytes: what is passed back.

One pass, on the gateway's hot path.

The rules are those of one-container-per-request functions (`answer.read_reply`,
`function_headers`), held against them by tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.answer import DROPPED, DROPPED_PREFIXES
from runtime.bounds import NOSNIFF, SANDBOX, Bounds
from runtime.errors import FunctionFailed
from runtime.http_request import HEADER_LINES_MAX, RawHeaders, size_of

# With ours they still fit into the 64 KiB that proxies can be told to take.
HEADERS_MAX = 48 * 1024
_DROPPED = frozenset(name.encode() for name in DROPPED)
_COOKIE, _CHALLENGE = b"set-cookie", b"www-authenticate"
_SNIFFING = b"x-content-type-options"
_READ = (
    b"content-type",
    b"content-length",
    b"transfer-encoding",
    _COOKIE,
    _CHALLENGE,
    _SNIFFING,
)
_PREFIXES = tuple(prefix.encode() for prefix in DROPPED_PREFIXES)
_NOSNIFF = b"%b: %b\r\n" % (_SNIFFING, NOSNIFF.encode())
_SANDBOX = b"content-security-policy: %b\r\n" % SANDBOX.encode()


@dataclass(slots=True)
class AnswerLines:
    """What became of the header lines of the last answer: the next mostly repeats them.
    A function says its date once a second, and the rest rarely changes."""

    bounds: Bounds
    lines: bytes = b""
    length: int | None = None  # of the body, where the function said it
    _raw: RawHeaders | None = None
    _asked: tuple[int, str] = (0, "")

    def read(self, raw: RawHeaders, status: int, method: str) -> None:
        """Set `lines` and `length` for these; raises FunctionFailed."""
        asked = status, method
        if self._raw != raw or self._asked != asked:
            seen, lines = _sorted(raw)
            self.length = _length(seen)
            self.lines = b"".join(lines + _bounded(seen, self.bounds, status, method))
            self._raw, self._asked = raw, asked


Seen = dict[bytes, list[bytes]]


def _sorted(raw: RawHeaders) -> tuple[Seen, list[bytes]]:
    """Values of what has to be looked at, and the lines of what simply passes."""
    _check_size(raw)
    lines: list[bytes] = []
    seen: Seen = {name: [] for name in _READ}
    for name, value in raw:
        if name in seen:
            seen[name].append(value)
        elif name not in _DROPPED and not name.startswith(_PREFIXES):
            lines.append(b"%b: %b\r\n" % (name, value))
    return seen, lines


def _length(seen: Seen) -> int | None:
    """Of the body, where it is said; raises FunctionFailed."""
    codings = {value.strip().lower() for value in seen[b"transfer-encoding"]}
    if not codings <= {b"chunked"}:
        # Without the header nobody could read what is left.
        raise FunctionFailed("The function's Transfer-Encoding is not chunked.")
    lengths = seen[b"content-length"]
    return int(lengths[0]) if lengths else None


def _bounded(seen: Seen, bounds: Bounds, status: int, method: str) -> list[bytes]:
    """The lines that depend on whose host it is; raises FunctionFailed."""
    kinds = [kind.decode("latin-1").strip(" \t") for kind in seen[b"content-type"]]
    passed = {name: _passed(name, seen[name], bounds) for name in (_COOKIE, _CHALLENGE)}
    if refusal := bounds.refusal(kinds, passed[_COOKIE]):
        raise FunctionFailed(f"The function's answer cannot be used: {refusal}.")
    lines = [
        b"%b: %b\r\n" % (name, value.encode("latin-1"))
        for name, values in passed.items()
        for value in values
    ]
    lines += (b"content-type: %b\r\n" % kind for kind in seen[b"content-type"])
    if bounds.is_sandboxed or not seen[_SNIFFING]:
        lines.append(_NOSNIFF)
    else:
        lines += (b"%b: %b\r\n" % (_SNIFFING, value) for value in seen[_SNIFFING])
    if bounds.confines(kinds, status, method):
        # In addition to the function's own policy: browsers enforce every one.
        lines.append(_SANDBOX)
    return lines


def _check_size(raw: RawHeaders) -> None:
    if size_of(raw) > HEADERS_MAX:
        limit = f"{HEADERS_MAX // 1024} KiB"
        raise FunctionFailed(f"The headers of the function's answer are over {limit}.")
    if len(raw) > HEADER_LINES_MAX:
        raise FunctionFailed(
            f"The function's answer has over {HEADER_LINES_MAX} headers."
        )


def _passed(name: bytes, values: list[bytes], bounds: Bounds) -> list[str]:
    found = (bounds.passed(name.decode(), value.decode("latin-1")) for value in values)
    return [value for value in found if value is not None]
