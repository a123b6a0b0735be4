"""Reads settings from the environment or NAME_FILE: typed, all errors at once.

Every reader records what it declares, so `docs/settings.md` is generated from the
very calls in `settings.py` and cannot drift from them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeVar

from environs import EnvError, EnvValidationError, FileAwareEnv

from applications import git_allow
from applications.quantities import parse_duration, parse_size

T = TypeVar("T")
REACHABLE_MAX = 32  # for which the guard has room: batch in runtime/door/filter.c


def parse_switch(text: str) -> bool:
    """True or False for `on` and `off`, and the other usual spellings."""
    word = text.strip().lower()
    if word in {"on", "true", "yes", "1"}:
        return True
    if word in {"off", "false", "no", "0"}:
        return False
    raise ValueError(f'"{text}" is not a switch: write on or off')


def parse_words(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def parse_networks(text: str) -> list[IPv4Network | IPv6Network]:
    """Addresses, and networks as ADDRESS/BITS; of IPv4 or IPv6."""
    try:
        return [ip_network(word, strict=False) for word in parse_words(text)]
    except ValueError as error:
        raise ValueError(f"{error}: write ADDRESS or ADDRESS/BITS") from error


def parse_reachable(text: str) -> list[str]:
    """What functions may reach, as the door takes it: 10.0.0.0/8:5432, 0 for any port.

    From ADDRESS, ADDRESS/BITS or one of them with :PORT behind it; IPv4.
    """
    words = parse_words(text)
    if len(words) > REACHABLE_MAX:
        raise ValueError(f"{len(words)} of them, and at most {REACHABLE_MAX} may be")
    return [_reachable(word) for word in words]


def _reachable(word: str) -> str:
    where, colon, port = word.partition(":")
    try:
        network = IPv4Network(where)
        number = _between(1, 65535)(port) if colon else 0
    except ValueError as error:
        raise ValueError(
            f'"{word}": {error}: write ADDRESS or ADDRESS/BITS, :PORT behind it or not'
        ) from error
    return f"{network}:{number}"


def parse_git_allow(text: str) -> list[str]:
    """What Git may connect to although it is private, in the words given."""
    words = parse_words(text)
    for word in words:
        git_allow.parse(word)
    return words


def check_docker_host(text: str) -> str:
    """A socket, or a TLS port: who reaches a daemon by plain TCP owns its machine."""
    if re.fullmatch(r"unix:///.+|tcp://[^/\s:]+:[0-9]+", text.strip()):
        return text.strip()
    raise ValueError(f'"{text}" is not unix:///PATH or tcp://HOST:2376')


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
        self._env.add_parser("parsed", _parsed)
        self.declared: list[Declared] = []
        self._refused: dict[str, list[str]] = {}

    def text(
        self, name: str, default: str, about: str, check: Callable[[str], str] = str
    ) -> str:
        """Any text that `check` returns; it raises ValueError for any other."""
        return self._read("text", name, default, about, check)

    def choice(self, name: str, default: str, about: str, *options: str) -> str:
        return self._read("choice", name, default, about, _one_of(options))

    def integer(
        self, name: str, default: str, about: str, least: int = 1, most: int = 10**9
    ) -> int:
        return self._read("number", name, default, about, _between(least, most))

    def duration(self, name: str, default: str, about: str, least: int = 0) -> int:
        return self._read("duration", name, default, about, _lasting(least))

    def size(self, name: str, default: str, about: str) -> int:
        return self._read("size", name, default, about, parse_size)

    def switch(self, name: str, default: str, about: str) -> bool:
        return self._read("on/off", name, default, about, parse_switch)

    def words(self, name: str, default: str, about: str) -> list[str]:
        return self._read("list", name, default, about, parse_words)

    def networks(
        self, name: str, default: str, about: str
    ) -> list[IPv4Network | IPv6Network]:
        return self._read("list", name, default, about, parse_networks)

    def reachable(self, name: str, default: str, about: str) -> list[str]:
        return self._read("list", name, default, about, parse_reachable)

    def git_allow(self, name: str, default: str, about: str) -> list[str]:
        return self._read("list", name, default, about, parse_git_allow)

    def refuse(self, name: str, problem: str) -> None:
        """Report a value that is well-formed but cannot be used with the others."""
        self._refused.setdefault(name, []).append(problem)

    def finish(self) -> None:
        """Exit with status 2 naming every setting that cannot be read."""
        wrong: dict[str, Any] = dict(self._refused)
        try:
            self._env.seal()
        except EnvValidationError as error:
            messages: Any = error.error_messages
            wrong |= messages
        if wrong:
            lines = [f"  {name}: {'; '.join(wrong[name])}" for name in sorted(wrong)]
            sys.stderr.write("Settings cannot be used:\n" + "\n".join(lines) + "\n")
            raise SystemExit(2)

    def _read(
        self, kind: str, name: str, default: str, about: str, parse: Callable[[str], T]
    ) -> T:
        self.declared.append(Declared(name, kind, default, about))
        value: T | None = self._env.parsed(name, default, parse=parse)
        # A wrong value is reported by finish(); until then the default does.
        return parse(default) if value is None else value


def _parsed(value: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(str(value))
    except ValueError as error:
        raise EnvError(str(error)) from error


def _between(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,10}", text.strip()):
            raise ValueError(f'"{text}" is not a whole number')
        if not least <= int(text) <= most:
            raise ValueError(f"{int(text)} is not between {least} and {most}")
        return int(text)

    return parse


def _lasting(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        seconds = parse_duration(text)
        if seconds < least:
            raise ValueError(f'"{text}" is less than {least}s, the least there may be')
        return seconds

    return parse


def _one_of(options: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.strip().lower() not in options:
            raise ValueError(f'"{text}" is not one of {", ".join(options)}')
        return text.strip().lower()

    return parse
