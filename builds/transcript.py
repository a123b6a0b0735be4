"""Cuts a build's log into the steps a reader can open and close. Pure.

A step begins at its heading and ends at the next one, so a log that grows only ever
appends: to its last step, or a new step after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

Line = tuple[int, str]

# Ours (`==> Fetch`), BuildKit's plain progress (`#7 [2/4] RUN …`, `#9 exporting …`)
# and the classic builder's (`Step 2/4 : RUN …`).
_HEADING = re.compile(
    r"==> (?P<ours>.+)|#\d+ (?P<kit>\[.+|exporting to .+|resolve .+)"
    r"|Step (?P<classic>\d+/\d+ : .+)"
)
# How a step of ours ended: `<== 0.4 s`, `<== failed`.
_ENDED = re.compile(r"<== (.+)")
_DONE = re.compile(r"#\d+ DONE ([0-9.]+)s")
_CACHED = re.compile(r"#\d+ CACHED| ---> Using cache")
_ERROR = re.compile(r"#\d+ ERROR\b|#\d+ CANCELED\b")


@dataclass
class Step:
    """Consecutive lines under one heading; `first` is a number that never changes."""

    title: str
    first: int
    lines: list[Line] = field(default_factory=list)

    @property
    def note(self) -> str:
        """`cached`, `failed` or how long it took, as its lines tell."""
        for _, text in reversed(self.lines):
            if match := _ENDED.match(text):
                return match[1]
            if match := _DONE.match(text):
                return f"{match[1]} s"
            if _CACHED.match(text):
                return "cached"
            if _ERROR.match(text):
                return "failed"
        return ""

    @property
    def is_failed(self) -> bool:
        return self.note == "failed"


def steps(lines: Iterable[Line], opening: str = "Preparing") -> list[Step]:
    """The steps in `lines`; what comes before a heading is put under `opening`."""
    found: list[Step] = []
    for number, text in lines:
        title = heading(text)
        if title and (not found or title != found[-1].title):
            found.append(Step(title, number))
        elif not found:
            found.append(Step(opening, number))
        found[-1].lines.append((number, text))
    return found


def heading(text: str) -> str:
    """The title of the step that begins with this line, or an empty string."""
    match = _HEADING.match(text)
    return next((part for part in match.groups() if part), "") if match else ""
