"""`.dockerignore` with Docker's meaning, in linear time.

The rules are those of github.com/moby/patternmatcher. Translated to regular
expressions, as Docker and its SDK do, a hostile pattern can take exponential time to
match; here each pattern is a small automaton that remembers its steps, and where it
stood after each directory.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable

from builds.errors import BuildError

PATTERNS_MAX = 2000
_STEPS_MAX = 20_000  # remembered steps of one pattern; then it starts afresh

Test = Callable[[str], bool]
State = frozenset[int]

_CLASS = re.compile(r"\[(\^?)((?:\\.|[^\]\\])+)\]", re.DOTALL)
_RANGE = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\-]))?", re.DOTALL)


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
        """Whether a file (relative to the context, with slashes) stays out."""
        excluded = False
        for keeps, pattern in self._rules:
            if keeps is excluded and pattern.matches(path):
                excluded = not keeps
        return excluded

    def _add(self, rule: str, place: str) -> None:
        keeps = rule.startswith("!")
        pattern = posixpath.normpath(rule[keeps:].strip()).lstrip("/")
        if pattern:
            try:
                self._rules.append((keeps, Pattern(pattern)))
            except ValueError as error:
                raise BuildError(
                    f"{place}: {rule!r} is not a pattern: {error}.",
                    "build:dockerignore",
                ) from None


class Pattern:
    """One pattern: does it match a path, or one of the directories above it?"""

    def __init__(self, pattern: str) -> None:
        self._automaton = Automaton(pattern)
        self._directories = {"": (self._automaton.start, False)}

    def matches(self, path: str) -> bool:
        """Whether the pattern matches `path` or a directory it is in."""
        directory, _, name = path.rpartition("/")
        state, matched = self._after(directory)
        return matched or self._automaton.accepts(self._automaton.run(state, name))

    def _after(self, directory: str) -> tuple[State, bool]:
        """The state after `directory/`, and whether that or one above matched."""
        missing: list[str] = []
        while directory not in self._directories:
            missing.append(directory)
            directory = directory.rpartition("/")[0]
        found = self._directories[directory]
        for each in reversed(missing):
            state = self._automaton.run(found[0], each.rpartition("/")[2])
            matched = found[1] or self._automaton.accepts(state)
            found = self._automaton.run(state, "/"), matched
            self._directories[each] = found
        return found


class Automaton:
    """A pattern as nodes with moves on a character and jumps without one."""

    def __init__(self, pattern: str) -> None:
        self._moves: list[list[tuple[Test, int]]] = [[]]
        self._jumps: list[list[int]] = [[]]
        self._steps: dict[tuple[State, str], State] = {}
        while pattern:
            pattern = self._token(pattern)
        self.start = self._closure([0])

    def run(self, state: State, text: str) -> State:
        """The state after reading `text`."""
        for char in text:
            known = self._steps.get((state, char))
            state = self._step(state, char) if known is None else known
        return state

    def accepts(self, state: State) -> bool:
        """Whether what was read so far is a match."""
        return len(self._moves) - 1 in state

    def _step(self, state: State, char: str) -> State:
        if len(self._steps) >= _STEPS_MAX:
            self._steps.clear()
        reached = self._closure(
            [
                target
                for node in state
                for test, target in self._moves[node]
                if test(char)
            ]
        )
        self._steps[state, char] = reached
        return reached

    def _closure(self, nodes: Iterable[int]) -> State:
        found: set[int] = set()
        todo = list(nodes)
        while todo:
            node = todo.pop()
            if node not in found:
                found.add(node)
                todo += self._jumps[node]
        return frozenset(found)

    def _token(self, rest: str) -> str:
        """Add the first element of `rest`; what is left."""
        if rest.startswith("**"):
            after = rest[2:].removeprefix("/")
            if after:
                self._any_directories()
            else:
                self._loop(_anything)
            return after
        if rest[0] == "*":
            self._loop(_not_slash)
            return rest[1:]
        if rest[0] == "?":
            self._one(_not_slash)
            return rest[1:]
        if rest[0] == "[":
            return self._class(rest)
        literal, after = (
            (rest[1:2], rest[2:]) if rest[0] == "\\" else (rest[0], rest[1:])
        )
        if not literal:
            raise ValueError("it ends with a backslash")
        self._one(literal.__eq__)
        return after

    def _new(self) -> int:
        self._moves.append([])
        self._jumps.append([])
        return len(self._moves) - 1

    def _one(self, test: Test) -> None:
        here = len(self._moves) - 1
        self._moves[here].append((test, self._new()))

    def _loop(self, test: Test) -> None:
        here = len(self._moves) - 1
        self._moves[here].append((test, here))

    def _any_directories(self) -> None:
        """Nothing, or anything up to a slash: what Docker writes as `(.*/)?`."""
        here, inside = len(self._moves) - 1, self._new()
        after = self._new()
        self._jumps[here] += [inside, after]
        self._moves[inside] += [(_anything, inside), ("/".__eq__, after)]

    def _class(self, rest: str) -> str:
        found = _CLASS.match(rest)
        if found is None:
            raise ValueError("its [ has no ]")
        wanted = not found[1]
        ranges = [_bounds(*item) for item in _RANGE.findall(found[2])]
        self._one(
            lambda char: any(low <= char <= high for low, high in ranges) is wanted
        )
        return rest[found.end() :]


def _bounds(low: str, high: str) -> tuple[str, str]:
    return low[-1], (high or low)[-1]


def _anything(_: str) -> bool:
    return True


def _not_slash(char: str) -> bool:
    return char != "/"
