"""Reads a Dockerfile into its instructions, as Docker's own parser does. Pure.

Docker reads the same text in two ways: engines from 23 on and newer frontends know
heredocs, whose lines are no instructions; for older ones each line is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

# What Go's unicode.IsSpace says; Python's str.isspace() has four more.
SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B)))
SPACE += "\u2028\u2029\u202f\u205f\u3000"
_BOM = "\ufeff"
_BETWEEN = re.compile(r"[\t\v\f\r ]+")
_WORD = re.compile(rf"[^{SPACE}]+")
_DIRECTIVE = re.compile(r"#[\t\n\f\r ]*([A-Za-z][A-Za-z0-9]*)[\t\n\f\r ]*=[ \t]*(.*)")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_HOLD_HEREDOCS = {"add", "copy", "run"}


@dataclass(frozen=True)
class Place:
    """1-based, as editors count."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Word:
    """A part of an instruction between white space, as written."""

    text: str
    place: Place


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined; `name` in small letters."""

    name: str
    rest: str
    place: Place
    words: tuple[Word, ...] = ()  # of `rest`

    @property
    def inner(self) -> Instruction:
        """What ONBUILD wraps; any other instruction itself."""
        if self.name != "onbuild" or not self.words:
            return self
        first = self.words[0]
        rest = self.rest[len(first.text) :].strip(SPACE)
        return Instruction(first.text.lower(), rest, first.place, self.words[1:]).inner

    @property
    def operands(self) -> tuple[Word, ...]:
        """The words after the flags, as far as flags have no white space in them."""
        flags = 0
        while flags < len(self.words) and self.words[flags].text.startswith("--"):
            flags += 1
        return self.words[flags:]

    @property
    def json(self) -> list[str] | None:
        """The operands if they are a JSON list of texts; what follows it is ignored."""
        start = self.rest.find("[")
        try:
            found, _ = json.JSONDecoder().raw_decode(self.rest[start:])
        except (ValueError, RecursionError):
            return None
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
        return None


def escape_of(text: str) -> str:
    """What `# escape=` makes the escape character; a backslash without it."""
    for line in text.removeprefix(_BOM).split("\n"):
        found = _DIRECTIVE.match(line.lstrip(SPACE))
        if not found or found[1].lower() not in ("syntax", "escape", "check"):
            break
        if found[1].lower() == "escape" and found[2].strip(SPACE) == "`":
            return "`"
    return "\\"


def read(text: str, *, heredocs: bool) -> list[Instruction]:
    """The instructions of a file, in order. Nothing is refused here."""
    escape = re.escape(escape_of(text))
    continued = re.compile(rf"(?<!{escape}){escape}[ \t]*\Z")
    lines = enumerate(text.removeprefix(_BOM).split("\n"), start=1)
    found = []
    for number, line in lines:
        if not line.strip(SPACE) or _is_comment(line):
            continue
        pieces = [(number, 1 + len(line) - len(line.lstrip(SPACE)), line.strip("\r"))]
        pieces[0] = (*pieces[0][:2], pieces[0][2].lstrip(SPACE))
        while match := continued.search(pieces[-1][2]):
            pieces[-1] = (*pieces[-1][:2], pieces[-1][2][: match.start()])
            more = next(((n, x) for n, x in lines if not _is_passed_over(x)), None)
            if more is None:
                break
            pieces.append((more[0], 1, more[1].rstrip("\r")))
        instruction = _instruction(pieces)
        found.append(instruction)
        if heredocs:
            _skip_heredocs(instruction, "".join(p[2] for p in pieces), lines)
    return found


def _is_comment(line: str) -> bool:
    return line.lstrip(SPACE).startswith("#")


def _is_passed_over(line: str) -> bool:
    """Between the lines of one instruction: comments, and lines with nothing on them."""
    return _is_comment(line) or not line.strip(SPACE)


def _instruction(pieces: list[tuple[int, int, str]]) -> Instruction:
    """Of lines with their numbers and the column at which each begins."""
    text = "".join(piece for *_, piece in pieces)

    def place(offset: int) -> Place:
        for line, column, piece in pieces:
            if offset < len(piece):
                return Place(line, column + offset)
            offset -= len(piece)
        return Place(pieces[-1][0], pieces[-1][1])

    parts = _BETWEEN.split(text.strip(SPACE), maxsplit=1)
    start = text.find(parts[0]) + len(parts[0])
    words = tuple(Word(w[0], place(w.start())) for w in _WORD.finditer(text, start))
    rest = parts[1] if len(parts) > 1 else ""
    return Instruction(parts[0].lower(), rest, place(0), words)


def _skip_heredocs(
    instruction: Instruction, line: str, lines: Iterator[tuple[int, str]]
) -> None:
    """Pass over the bodies of the heredocs that begin on a line."""
    inner = instruction.inner
    if inner.name not in _HOLD_HEREDOCS:
        return
    if inner.operands and inner.operands[0].text.startswith("[") and inner.json:
        return
    for name, tabs in heredocs_of(line):
        for _, body in lines:
            end = body.rstrip("\r")
            if (end.lstrip("\t") if tabs else end) == name:
                break


def heredocs_of(line: str) -> list[tuple[str, bool]]:
    """The names of the heredocs a line begins, and whether tabs before them count."""
    found = (_HEREDOC.fullmatch(word) for word in _shell_words(line))
    return [(_unquoted(match[2]), match[1] == "-") for match in found if match]


def _shell_words(line: str) -> list[str]:
    """Words as a shell parts them, as written; none at all with an open quote."""
    words, word, quote = [], "", ""
    characters = iter(line)
    for character in characters:
        if character in SPACE and not quote:
            words.append(word)
            word = ""
            continue
        word += character
        if character == "\\" and quote != "'":
            word += "".join(islice(characters, 1))
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
    return [] if quote else [part for part in (*words, word) if part]


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)|[\"']", lambda match: match[1] or "", word)
