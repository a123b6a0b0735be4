"""`.dockerignore` with Docker's meaning, in work that is bounded.

The rules are those of github.com/moby/patternmatcher. Translated to regular
expressions, as Docker and its SDK do, a hostile pattern can take exponential time to
match. Here a pattern is a row of elements, and all the places in it that a path may
have reached are the bits of one number: a character costs a few operations on that
number, and memory is one bit for each character of the pattern. All of that is counted,
and has a limit.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from builds.errors import BuildError

PATTERNS_MAX = 2000
# Work for one file, in characters matched with a short pattern: five seconds of it.
WORK_MAX = 10_000_000
_CALL = 4  # what beginning and ending a name costs beside it
_BITS = 512  # elements of a pattern that cost as much as the first
_MASKS_MAX = 256  # characters whose places in a pattern are remembered

Test = Callable[[str], bool]

_CLASS = re.compile(r"\[(\^?)((?:\\.|[^\]\\])+)\]", re.DOTALL)
_RANGE = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\-]))?", re.DOTALL)


class TooMuchWork(Exception):
    """One pattern alone costs more than all may."""


class Ignore:
    """The patterns of one file; the last that matches a path decides."""

    def __init__(self, text: str, name: str = ".dockerignore") -> None:
        lines = text.removeprefix("\ufeff").splitlines()
        self._rules: list[tuple[bool, Pattern]] = []
        for number, line in enumerate(lines, start=1):
            if not line.startswith("#") and (rule := line.strip()):
                self._add(rule, f"{name}:{number}")
        if len(self._rules) > PATTERNS_MAX:
            raise BuildError(
                f"{name} has {len(self._rules)} patterns; at most {PATTERNS_MAX} can "
                "be used. Ignore directories instead of files.",
                "build:dockerignore",
            )

    def excludes(self, path: str) -> bool:
        """Whether a file (relative to the context, with slashes) stays out.

        Quick for paths in order. Raises BuildError where it takes too much work.
        """
        excluded, work = False, 0
        try:
            for keeps, pattern in self._rules:
                if keeps is excluded and pattern.matches(path):
                    excluded = not keeps
                work += pattern.work
        except TooMuchWork:
            raise self._too_much() from None
        if work > WORK_MAX:
            raise self._too_much()
        return excluded

    def _add(self, rule: str, place: str) -> None:
        keeps = rule.startswith("!")
        pattern = posixpath.normpath(rule[keeps:].strip()).lstrip("/")
        if pattern:
            try:
                self._rules.append((keeps, Pattern(pattern, place)))
            except ValueError as error:
                raise BuildError(
                    f"{place}: {_short(rule)} is not a pattern: {error}.",
                    "build:dockerignore",
                ) from None

    def _too_much(self) -> BuildError:
        worst = max((pattern for _, pattern in self._rules), key=lambda p: p.work)
        return BuildError(
            f"{worst.place}: matching the context's files with all patterns takes too "
            f"long, most of it with {_short(worst.text)}: write shorter patterns, or "
            "fewer with stars.",
            "build:dockerignore",
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


class Reached(NamedTuple):
    """The places in a pattern that are reached: `at` an element, or `inside` a `**/`
    whose slash has not come. `matched`: that, or a directory above, is a match."""

    at: int
    inside: int
    matched: bool = False


class Pattern:
    """One pattern: does it match a path, or one of the directories above it?"""

    def __init__(self, text: str, place: str = "") -> None:
        self.text, self.place = text, place
        self._elements = _Elements(text)
        # The directories of the path before: the next path mostly begins like it.
        self._directory = ""
        self._above: list[tuple[str, Reached]] = [("", self._elements.start)]

    @property
    def work(self) -> int:
        """What matching has cost so far."""
        return self._elements.work

    def matches(self, path: str) -> bool:
        """Whether the pattern matches `path` or a directory it is in."""
        directory, _, name = path.rpartition("/")
        if directory != self._directory:
            self._enter(directory)
        above = self._above[-1][1]
        return above.matched or self._elements.accept(self._run(above, name))

    def _enter(self, directory: str) -> None:
        """Note what is reached after a directory and its slash."""
        parts = directory.split("/") if directory else []
        known = 0
        for one, (other, _) in zip(parts, self._above[1:], strict=False):
            if one != other:
                break
            known += 1
        self._elements.work += known
        del self._above[known + 1 :]
        for one in parts[known:]:
            above = self._above[-1][1]
            reached = self._run(above, one)
            matched = above.matched or self._elements.accept(reached)
            slash = self._run(reached, "/")
            self._above.append((one, Reached(slash.at, slash.inside, matched)))
        self._directory = directory

    def _run(self, reached: Reached, text: str) -> Reached:
        """What is reached after `text`; where nothing is, nothing more can be."""
        if not (reached.at or reached.inside):
            return reached
        at, inside, _ = reached
        self._elements.work += _CALL
        for char in text:
            at, inside = self._elements.step(at, inside, char)
            if not (at or inside):
                break
        return Reached(at, inside)


class _Elements:
    """What a pattern is made of, as numbers with a bit for each element.

    Bit `i` of `at` says: all before element `i` is matched. An element takes one
    character (`_takes`), or it may be passed without one (`_optional`): a star, which
    goes on taking characters, and `**/`, which takes directories.
    """

    def __init__(self, pattern: str) -> None:
        self._size = self.work = self._ranges = 0
        self._literal: dict[str, list[int]] = {}
        self._question: list[int] = []
        self._classes: list[tuple[int, Test]] = []
        self._stars: list[int] = []  # anything but a slash
        self._all: list[int] = []  # anything
        self._directories: list[int] = []  # anything up to a slash, or nothing
        position = 0
        while position < len(pattern):
            position = self._element(pattern, position)
            self._size += 1
        self._end = 1 << self._size
        self._any = self._bits(self._all)
        self._some = self._any | self._bits(self._stars)
        self._into = self._bits(self._directories)
        self._optional = self._some | self._into
        self._one = self._bits(self._question)
        self._takes: dict[str, int] = {}
        self._cost = 1 + self._size // _BITS
        at = self._passed(1)
        self.start = Reached(at, at & self._into)

    def step(self, at: int, inside: int, char: str) -> tuple[int, int]:
        """What is reached after one more character."""
        self.work += self._cost
        takes = self._takes.get(char)
        if takes is None:
            takes = self._taking(char)
        reached = (at & takes) << 1
        if char == "/":
            reached |= (at & self._any) | inside << 1
        else:
            reached |= at & self._some
        if reached:
            reached = self._passed(reached)
        return reached, inside | reached & self._into

    def accept(self, reached: Reached) -> bool:
        """Whether what was read so far is a match."""
        return bool(reached.at & self._end)

    def _passed(self, at: int) -> int:
        """With the elements that may be passed: adding a bit to a row of ones carries
        it to the bit behind the row, in one operation for any number of elements."""
        optional = self._optional
        return at | (optional + (at & optional)) ^ optional

    def _taking(self, char: str) -> int:
        """The elements that take this character."""
        places = self._literal.get(char, [])
        self.work += self._cost + len(places) + self._ranges
        if self.work > WORK_MAX:
            raise TooMuchWork
        classes = [place for place, test in self._classes if test(char)]
        found = self._bits([*places, *classes]) | (self._one if char != "/" else 0)
        if len(self._takes) >= _MASKS_MAX:
            self._takes.clear()
        self._takes[char] = found
        return found

    def _bits(self, places: Iterable[int]) -> int:
        data = bytearray(self._size // 8 + 1)
        for place in places:
            data[place // 8] |= 1 << place % 8
        return int.from_bytes(data, "little")

    def _element(self, pattern: str, start: int) -> int:
        """Note the element that begins at `start`; where the next one does."""
        here, char = self._size, pattern[start]
        if pattern.startswith("**", start):
            after = start + 2 + pattern.startswith("/", start + 2)
            (self._directories if after < len(pattern) else self._all).append(here)
            return after
        if char == "*":
            self._stars.append(here)
        elif char == "?":
            self._question.append(here)
        elif char == "[":
            return self._class(pattern, start)
        elif char == "\\":
            if start + 1 == len(pattern):
                raise ValueError("it ends with a backslash")
            self._literal.setdefault(pattern[start + 1], []).append(here)
            return start + 2
        else:
            self._literal.setdefault(char, []).append(here)
        return start + 1

    def _class(self, pattern: str, start: int) -> int:
        found = _CLASS.match(pattern, start)
        if found is None:
            raise ValueError("its [ has no ]")
        wanted = not found[1]
        ranges = [_bounds(*item) for item in _RANGE.findall(found[2])]
        self._ranges += 2 + len(ranges)
        self._classes.append(
            (
                self._size,
                lambda char: any(low <= char <= high for low, high in ranges) is wanted,
            )
        )
        return found.end()


def _bounds(low: str, high: str) -> tuple[str, str]:
    return low[-1], (high or low)[-1]
