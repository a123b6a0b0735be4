"""Turns whatever a build prints into clean, bounded lines of text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

LINE_MAX = 4096  # characters; a viewer and a database row have to hold them

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]"  # the rest
)
# PostgreSQL refuses NUL, UTF-8 refuses surrogates, and no viewer wants the others.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean(text: str) -> str:
    """One line without escapes and control characters, at most LINE_MAX long.

    A line redrawn by carriage returns is what a terminal shows at the end.
    """
    if not text.isprintable():
        drawn = [part for part in text.split("\r") if part]
        text = _ESCAPES.sub("", drawn[-1] if drawn else "")
        text = _CONTROLS.sub("", text)
    if len(text) > LINE_MAX:
        return f"{text[:LINE_MAX]} [line cut]"
    return text


class Splitter:
    """Cuts a stream of bytes into clean lines with flat memory, however long a line."""

    def __init__(self) -> None:
        self._rest = b""
        self._cut = False

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes."""
        *complete, rest = data.split(b"\n")
        for piece in complete:
            yield self._line(piece)
        # Twice the cap: enough for multi-byte characters and a redrawn line.
        room = 2 * LINE_MAX - len(self._rest)
        self._rest += rest[:room]
        self._cut = self._cut or len(rest) > room

    def end(self) -> Iterator[str]:
        """What came after the last newline, if anything."""
        if self._rest:
            yield self._line(b"")

    def _line(self, piece: bytes) -> str:
        whole = (self._rest + piece[: 2 * LINE_MAX]).decode("utf-8", "replace")
        cut, self._rest, self._cut = self._cut, b"", False
        line = clean(whole)
        return f"{line} [line cut]" if cut and len(line) <= LINE_MAX else line
