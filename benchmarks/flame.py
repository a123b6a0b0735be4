"""Draws a flame graph: every frame as wide as its time, callers below. Plain SVG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

Stack = tuple[str, ...]
WIDTH, ROW, LETTER = 1200, 17, 6.6
_LEAST = 0.002  # of all: what is narrower is left out
_COLOURS = {"kernel": "#9ec5e8", "llhttp": "#b8d8a8", "event loop": "#d8d8d8"}
_OURS = ("#f3c188", "#f0b070", "#f6cd9c")


@dataclass(frozen=True)
class Box:
    """One frame: how deep, where it begins and ends, in units of what is measured."""

    name: str
    depth: int
    begin: float
    end: float


def draw(stacks: Mapping[Stack, float], unit: str) -> str:
    """The SVG of stacks and their weights; `unit` is the weights'."""
    boxes = _boxes(sorted(stacks.items()))
    total = sum(stacks.values())
    boxes = [box for box in boxes if box.end - box.begin >= _LEAST * total]
    height = (max(box.depth for box in boxes) + 1) * ROW
    drawn = "\n".join(_draw(box, total, height, unit) for box in boxes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="monospace" font-size="11">\n{drawn}\n</svg>\n'
    )


def _boxes(stacks: list[tuple[Stack, float]]) -> list[Box]:
    """Neighbours with the same callers become one; `stacks` are in order."""
    begins: dict[Stack, float] = {}
    widths: defaultdict[Stack, float] = defaultdict(float)
    at = 0.0
    for stack, weight in stacks:
        for depth in range(1, len(stack) + 1):
            begins.setdefault(stack[:depth], at)
            widths[stack[:depth]] += weight
        at += weight
    return [
        Box(callers[-1], len(callers) - 1, begin, begin + widths[callers])
        for callers, begin in begins.items()
    ]


def _draw(box: Box, total: float, height: int, unit: str) -> str:
    weight = box.end - box.begin
    left, width = WIDTH * box.begin / total, WIDTH * weight / total
    top = height - (box.depth + 1) * ROW
    text = box.name[: int((width - 4) / LETTER)] if width > 5 * LETTER else ""
    about = f"{box.name}: {weight:.2f} {unit}, {weight / total:.1%}"
    return (
        f"<g><title>{escape(about)}</title>"
        f'<rect x="{left:.1f}" y="{top}" width="{max(0.5, width - 0.5):.1f}" '
        f'height="{ROW - 1}" fill="{_colour(box)}"/>'
        f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(text)}</text></g>'
    )


def _colour(box: Box) -> str:
    known = next((c for name, c in _COLOURS.items() if box.name.startswith(name)), "")
    return known or _OURS[sum(map(ord, box.name)) % len(_OURS)]
