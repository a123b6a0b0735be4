"""Expands the variables, quotes and escapes of one word of a Dockerfile. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

LENGTH_MAX = 1 << 16  # no name of a file or an image is as long
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_SUBSTITUTE = re.compile(r":?[-+]")


class Undecidable(Exception):
    """What a word will be cannot be told from the file."""


# The value of each variable that is set; None where it cannot be known.
Values = Mapping[str, str | None]


def expand(text: str, values: Values, escape: str = "\\") -> str:
    """What Docker makes of the word. Raises Undecidable; an open quote is let pass."""
    try:
        return _Reader(text, values, escape).until("")
    except RecursionError:
        raise Undecidable from None


class _Reader:
    def __init__(self, text: str, values: Values, escape: str) -> None:
        self._text, self._values, self._escape = text, values, escape
        self._at = 0

    def until(self, end: str) -> str:
        """Up to the character `end`, which is passed over, or to the text's end."""
        found = ""
        while character := self._next():
            if character == end:
                break
            if len(found) > LENGTH_MAX:
                raise Undecidable  # variables that hold each other twice, for example
            if character == "'":
                found += self._take(r"[^']*")
                self._next()
            elif character == '"':
                found += self._quoted()
            elif character == self._escape:
                found += self._next()
            else:
                found += self._variable() if character == "$" else character
        return found

    def _quoted(self) -> str:
        found = ""
        while (character := self._next()) and character != '"':
            if character == self._escape and self._peek() in ('"', "$", self._escape):
                found += self._next()
            else:
                found += self._variable() if character == "$" else character
        return found

    def _variable(self) -> str:
        """What follows a dollar sign."""
        if self._peek() != "{":
            if not self._peek().isascii():
                raise Undecidable
            name = self._take(_NAME)
            return (self._value(name) or "") if name else "$"
        self._next()
        name, how = self._take(_NAME), self._take(_SUBSTITUTE)
        if not name or (not how and self._peek() != "}"):
            raise Undecidable
        other = self.until("}")
        value = self._value(name)
        is_there = bool(value) if how.startswith(":") else value is not None
        if how.endswith("-"):
            return (value or "") if is_there else other
        return (other if is_there else "") if how else value or ""

    def _value(self, name: str) -> str | None:
        if name in self._values and self._values[name] is None:
            raise Undecidable
        return self._values.get(name)

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: str | re.Pattern[str]) -> str:
        match = re.compile(pattern).match(self._text, self._at)
        self._at = match.end() if match else self._at
        return match[0] if match else ""
