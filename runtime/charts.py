"""Charts as shapes: numbers in, rectangles and paths out. Pure; templates draw them.

A plot is as many units wide as it has slots and 100 high, and is stretched to its place
on the page, so it holds no text: words and scales stand around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HEIGHT = 100


@dataclass(frozen=True)
class Bar:
    """A rectangle that stands on the axis or on another; in units of the plot."""

    x: str
    y: str
    height: str
    tone: str = ""


@dataclass(frozen=True)
class Hint:
    """What a pointer over a slot is told."""

    x: int
    words: str


@dataclass(frozen=True)
class Plot:
    """One drawing; `words` say in a sentence what it shows."""

    width: int
    words: str
    top: str = ""  # the value at the upper edge, as people read it
    bars: list[Bar] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)  # tone, path
    hints: list[Hint] = field(default_factory=list)


def ceiling(value: float) -> float:
    """The next round number, so that the scale is easy to read."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for step in (1, 1.5, 2, 3, 4, 5, 6, 8):
        if value <= step * power * 1.000001:
            return step * power
    return 10 * power


def bars(
    values: Sequence[float], top: float, tone: str = "", below: Sequence[float] = ()
) -> list[Bar]:
    """A bar for each value that is not zero, standing on the values of `below`."""
    found = []
    for slot, value in enumerate(values):
        if value > 0:
            # A single request among thousands has to be seen as well.
            height = max(HEIGHT * value / top, 1.5)
            base = HEIGHT * below[slot] / top if below else 0.0
            y = max(HEIGHT - base - height, 0)
            found.append(Bar(_text(slot + 0.1), _text(y), _text(height), tone))
    return found


def line(values: Sequence[float | None], top: float) -> str:
    """A path through the middles of the slots, with a gap where there is no value."""
    path: list[str] = []
    is_drawing = False
    for slot, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        x, y = _text(slot + 0.5), _text(HEIGHT - HEIGHT * value / top)
        # A lone point is a line of no length; its round ends make it a dot.
        path.append(f"L{x} {y}" if is_drawing else f"M{x} {y}h0")
        is_drawing = True
    return "".join(path)


def hints(words: Iterable[str]) -> list[Hint]:
    """One for each slot that has something to say."""
    return [Hint(slot, said) for slot, said in enumerate(words) if said]


def _text(number: float) -> str:
    """The same in every language: no thousands, a point, no more digits than needed."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
