"""Reads settings from the environment or NAME_FILE: typed, all errors at once.

Every reader records what it declares, so `docs/settings.md` is generated from the
very calls in `settings.py` and cannot drift from them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from environs import EnvError, EnvValidationError, FileAwareEnv

from applications.quantities import parse_duration, parse_size


def parse_switch(text: str) -> bool:
    """True or False for `on` and `off`, and the other usual spellings."""
    word = text.strip().lower()
    if word in {"on", "true", "yes", "1"}:
        return True
    if word in {"off", "false", "no", "0"}:
        return False
    raise ValueError(f'"{text}" is not a switch: write on or off')


@dataclass(frozen=True)
class Declared:
    """One setting as `settings.py` declares it, for the documentation."""

    name: str
    kind: str
    default: str
    about: str


class Reader:
    """Typed access to the environment; `finish()` reports all wrong values together."""

    def __init__(self) -> None:
        self._env = FileAwareEnv(eager=False, expand_vars=False)
        self.declared: list[Declared] = []
        self._env.add_parser("duration", _refusing(parse_duration))
        self._env.add_parser("size", _refusing(parse_size))
        self._env.add_parser("switch", _refusing(parse_switch))

    def text(self, name: str, default: str, about: str) -> str:
        return str(self._read("str", "text", name, default, about))

    def integer(self, name: str, default: str, about: str) -> int:
        return int(self._read("int", "number", name, default, about))

    def duration(self, name: str, default: str, about: str) -> int:
        return int(self._read("duration", "duration", name, default, about))

    def size(self, name: str, default: str, about: str) -> int:
        return int(self._read("size", "size", name, default, about))

    def switch(self, name: str, default: str, about: str) -> bool:
        return bool(self._read("switch", "on/off", name, default, about))

    def words(self, name: str, default: str, about: str) -> list[str]:
        value = str(self._read("str", "list", name, default, about))
        return [word.strip() for word in value.split(",") if word.strip()]

    def finish(self) -> None:
        """Exit with status 2 naming every setting that cannot be read."""
        try:
            self._env.seal()
        except EnvValidationError as error:
            wrong: Any = error.error_messages
            lines = [f"  {name}: {'; '.join(wrong[name])}" for name in sorted(wrong)]
            sys.stderr.write("Settings cannot be read:\n" + "\n".join(lines) + "\n")
            raise SystemExit(2) from None

    def _read(self, method: str, kind: str, name: str, default: str, about: str) -> Any:
        self.declared.append(Declared(name, kind, default, about))
        value = getattr(self._env, method)(name, default)
        fallback = 0 if kind in {"number", "duration", "size"} else ""
        # A wrong value is reported by finish(); until then any value of the type does.
        return fallback if value is None else value


def _refusing(parse: Callable[[str], int]) -> Callable[[str], int]:
    def parser(value: str, **_: Any) -> int:
        try:
            return parse(str(value))
        except ValueError as error:
            raise EnvError(str(error)) from error

    return parser
