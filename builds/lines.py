"""Turns whatever a build prints into clean, bounded lines of text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LINE_MAX = 4096  # characters; a viewer and a database row have to hold them

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]"  # the rest
)
# PostgreSQL refuses NUL, UTF-8 refuses surrogates, and no viewer wants the others.
# A frame of a trace, and what stands around one: Node, Java, Ruby, PHP, Go, Rust.
_FRAME = re.compile(
    r"\s+at |\s+from |\t\S+\.go:\d|\s*\.\.\. \d+ |#\d+ |\s*[\^~]+\s*$|Node\.js v"
    r"|goroutine \d|Stack trace:|\s*thrown in |note: run with `RUST|exit status \d"
)
_ERROR = re.compile(
    r"(?:[\w.$\"' ]*(?:Error|Exception)(?: \[\w+\])?(?::|$)"
    r"|Exception in thread |PHP Fatal error: |panic: |thread .* panicked at )"
)
_AFTER = 15  # lines that may follow an error and still belong to it
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


def telling(lines: Sequence[str], most: int) -> list[str]:
    """The few of a program's last lines that say why it failed.

    Mostly the very last. But some languages put the error before the trace, so without
    the frames of traces they begin no later than with the last line that names one.
    """
    said = [line.strip() for line in lines if line.strip() and not _FRAME.match(line)]
    said = said[-max(_AFTER, most) :]
    named = [place for place, line in enumerate(said) if _ERROR.match(line)]
    start = max(len(said) - most, 0)
    start = min(start, named[-1]) if named else start
    return said[start : start + most]


def quoted(said: list[str]) -> str:
    """The line of `telling` that names the error, and all of them below it."""
    if len(said) < 2:
        return "".join(said)
    named = [line for line in said if _ERROR.match(line)]
    return "\n".join([named[-1] if named else said[-1], *said])


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
