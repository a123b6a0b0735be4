"""Where everything in a manifest stood, and problems that say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from applications.errors import Problem

Path = tuple[str | int, ...]


def visible(text: str, most: int = 60) -> str:
    """`text` cut to `most` characters, with what does not print written as escapes."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode()
        for mark in cut
    )


@dataclass(frozen=True)
class Place:
    """Line and column, from 1."""

    line: int
    column: int


@dataclass
class Document:
    """The data, and for every path into it where it stood."""

    filename: str
    data: Any = None
    is_complete: bool = False
    places: dict[Path, Place] = field(default_factory=dict)
    key_places: dict[Path, Place] = field(default_factory=dict)
    texts: dict[Path, str] = field(default_factory=dict)
    # Text here that YAML 1.1 reads as something else: booleans, numbers, dates.
    ambiguous: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    spoiled: set[Path] = field(default_factory=set)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A problem at the value of `path`, or at its key; missing ones at a parent."""
        place = self.key_places.get(path) if at_key else self.places.get(path)
        above = path
        while place is None and above:
            above = above[:-1]
            place = self.places.get(above)
        place = place or Place(1, 1)
        return Problem(
            self.filename, place.line, place.column, path_text(path), message
        )

    def spoil(self, path: Path, place: Place, message: str) -> None:
        """Record a problem of the text; what stands at `path` counts for nothing."""
        self.spoiled.add(path)
        self.note(path, place, message)

    def note(self, path: Path, place: Place, message: str) -> None:
        """Record a problem of the text at a place of its own."""
        self.problems.append(
            Problem(self.filename, place.line, place.column, path_text(path), message)
        )


def path_text(path: Path) -> str:
    """`("spec", "functions", 0, "memory")` as `spec.functions[0].memory`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{visible(part, 40)}"
    return visible(text.removeprefix("."), 120)
