"""Reads a Dockerfile into its instructions, as Docker's own parser does. Pure.

Docker reads the same text in two ways: engines from 23 on and newer frontends know
heredocs, whose lines are no instructions; for older ones each line is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

# What Go's unicode.IsSpace says; Python's str.isspace() has four more.
SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
)
_BOM = "\ufeff"
_WORD = re.compile(rf"[^{SPACE}]+")
_DIRECTIVE = re.compile(r"#[\t\n\f\r ]*([A-Za-z][A-Za-z0-9]*)[\t\n\f\r ]*=[ \t]*(.*)")
_DIRECTIVES = ("syntax", "escape", "check")  # older versions do not know the last
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_MAY_HOLD_HEREDOCS = {"add", "copy", "run"}

_Lines = Iterator[tuple[int, str]]


@dataclass(frozen=True)
class Place:
    """Line and column, 1-based, as editors count."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Word:
    """A part of an instruction between white space, as written."""

    text: str
    offset: int  # in the text of its instruction


# A part of an instruction's text: its line, the column before it, and what it says.
Piece = tuple[int, int, str]


@dataclass(frozen=True)
class Instruction:
    """One instruction. `text` is its lines joined, `words` are those after its name."""

    name: str  # in small letters
    text: str
    words: tuple[Word, ...]
    pieces: tuple[Piece, ...]

    @property
    def inner(self) -> Instruction:
        """What ONBUILD wraps; any other instruction is its own."""
        if self.name != "onbuild" or not self.words:
            return self
        first, *rest = self.words
        return replace(self, name=first.text.lower(), words=tuple(rest))

    @property
    def rest(self) -> str:
        """All that follows the name."""
        return self.text[self.words[0].offset :].rstrip(SPACE) if self.words else ""

    @property
    def flags(self) -> tuple[Word, ...]:
        """The words before the operands that begin with two dashes."""
        return self.words[: self._first_operand()]

    @property
    def operands(self) -> tuple[Word, ...]:
        return self.words[self._first_operand() :]

    def _first_operand(self) -> int:
        dashed = [word.text.startswith("--") for word in self.words]
        return dashed.index(False) if False in dashed else len(dashed)

    def place(self, word: Word) -> Place:
        offset = word.offset
        for line, indent, piece in self.pieces:
            if offset < len(piece):
                return Place(line, indent + offset + 1)
            offset -= len(piece)
        return Place(self.pieces[-1][0], 1)

    def json(self, word: Word) -> list[str] | None:
        """The JSON list of texts that begins at a word; what follows it is ignored."""
        try:
            found, _ = json.JSONDecoder().raw_decode(self.text, word.offset)
        except (ValueError, RecursionError):
            return None
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
        return None


def is_escape_open(text: str) -> bool:
    """Whether versions of Docker differ in what the escape character is."""
    return escape_of(text) != escape_of(text, _DIRECTIVES[:2])


def escape_of(text: str, known: Sequence[str] = _DIRECTIVES) -> str:
    """What `# escape=` makes the escape character; a backslash without it.

    Directives end with the first line that is none of the `known` ones.
    """
    for line in text.removeprefix(_BOM).split("\n"):
        found = _DIRECTIVE.match(line.lstrip(SPACE))
        if not found or found[1].lower() not in known:
            break
        if found[1].lower() == "escape" and found[2].strip(SPACE) == "`":
            return "`"
    return "\\"


def read(text: str, *, heredocs: bool) -> list[Instruction]:
    """The instructions of a file, in order. Nothing is refused here."""
    mark = re.escape(escape_of(text))
    continued = re.compile(rf"(?<!{mark}){mark}[ \t]*\Z")
    lines = enumerate(text.removeprefix(_BOM).split("\n"), start=1)
    found = []
    for number, line in lines:
        if _is_passed_over(line):
            continue
        indent = len(line) - len(line.lstrip(SPACE))
        pieces = tuple(_joined(number, line, indent, lines, continued))
        if instruction := _instruction(pieces):
            found.append(instruction)
            if heredocs:
                _skip_heredocs(instruction, lines)
    return found


def _joined(
    number: int, line: str, indent: int, lines: _Lines, continued: re.Pattern[str]
) -> Iterator[Piece]:
    """A line and those that continue it, without the marks that say so."""
    line = line[indent:]
    while True:
        line = line.rstrip("\r")
        match = continued.search(line)
        yield number, indent, line[: match.start()] if match else line
        following = (pair for pair in lines if not _is_passed_over(pair[1]))
        pair = next(following, None) if match else None
        if pair is None:
            return
        (number, line), indent = pair, 0


def _is_passed_over(line: str) -> bool:
    """A comment or an empty line: also between the lines of one instruction."""
    bare = line.lstrip(SPACE)
    return not bare or bare.startswith("#")


def _instruction(pieces: tuple[Piece, ...]) -> Instruction | None:
    text = "".join(piece for *_, piece in pieces)
    words = [Word(match[0], match.start()) for match in _WORD.finditer(text)]
    if not words:
        return None
    return Instruction(words[0].text.lower(), text, tuple(words[1:]), pieces)


def _skip_heredocs(instruction: Instruction, lines: _Lines) -> None:
    """Pass over the bodies of the heredocs that an instruction begins."""
    inner = instruction.inner
    if inner.name not in _MAY_HOLD_HEREDOCS:
        return
    if inner.operands and inner.json(inner.operands[0]) is not None:
        return
    for name, tabs in heredocs_of(instruction.text):
        for _, body in lines:
            end = body.rstrip("\r")
            if (end.lstrip("\t") if tabs else end) == name:
                break


def heredocs_of(text: str) -> list[tuple[str, bool]]:
    """The names of the heredocs a text begins; True where tabs may stand before one."""
    found = (_HEREDOC.fullmatch(word) for word in shell_words(text))
    return [(_unquoted(match[2]), match[1] == "-") for match in found if match]


def shell_words(text: str, escape: str = "\\") -> list[str]:
    """Words as a shell parts them, as written; none at all with an open quote."""
    words, word, quote = [], "", ""
    characters = iter(text)
    for character in characters:
        if character in SPACE and not quote:
            words.append(word)
            word = ""
            continue
        word += character
        if character == escape and quote != "'":
            word += "".join(islice(characters, 1))
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
    return [] if quote else [part for part in (*words, word) if part]


_QUOTED = re.compile(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)""")


def _unquoted(word: str) -> str:
    """Without quotes and escapes; in single quotes a backslash is one."""

    def inside(match: re.Match[str]) -> str:
        single, double, escaped = match.groups()
        if double is not None:
            return re.sub(r'\\(["$\\])', r"\1", double)
        return single if single is not None else escaped

    return _QUOTED.sub(inside, word)
