"""Reads one YAML document into plain data and remembers where everything stood.

What a hostile file could use is refused here, on PyYAML's stream of events and before
anything is built: size, depth and number of nodes, tags, anchors and aliases, merge
keys, a second document, keys given twice. Only the scanner and parser written in
Python are used: the ones in C overrun the stack, and with it kill the process, on
deeply nested text (PyYAML with libyaml, about 30,000 levels).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.error import MarkedYAMLError
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from applications import scalars
from applications.positions import Document, Path, Place, visible

SIZE_MAX = 128 * 1024  # bytes
NODES_MAX = 10_000
DEPTH_MAX = 16

# Characters no value may hold: PostgreSQL refuses NUL, UTF-8 has no lone surrogates,
# and the other controls act on terminals. Tab and newline belong to text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# PyYAML answers some broken text with these instead of a YAMLError: a huge number in
# a %YAML directive, "\UFFFFFFFF", an end of file where it peeks ahead.
_ESCAPING = (ValueError, LookupError, ArithmeticError, AssertionError, TypeError)


class Unreadable(Exception):
    """Reading cannot go on; the document's problems say why."""


def read(data: bytes, filename: str) -> Document:
    """The document in `data`; its `problems` say all that is wrong with the text.

    Where reading stopped early the result is not complete, and a problem says why.
    """
    document = Document(filename)
    try:
        document.data = _Builder(document).build(_decoded(data, document))
    except Unreadable:
        return document
    document.is_complete = True
    return document


def _decoded(data: bytes, document: Document) -> str:
    if len(data) > SIZE_MAX:
        kib = SIZE_MAX // 1024
        _stop(document, Place(1, 1), f"Too long: a manifest may have {kib} KiB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        _stop(document, Place(1, 1), "Invalid value: this is UTF-16, save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        byte = f"0x{data[error.start]:02X}"
        message = f"Invalid value: byte {byte} is not UTF-8, save the file as UTF-8"
        _stop(document, _place_in(before), message)
    if found := Reader.NON_PRINTABLE.search(text):
        message = f"Invalid value: holds {_name_of(found.group())}"
        _stop(document, _place_in(text[: found.start()]), message)
    return text


def _stop(document: Document, place: Place, message: str) -> None:
    document.spoil((), place, message)
    raise Unreadable


def _place_in(before: str) -> Place:
    """Where the text after `before` begins."""
    lines = re.split("\r\n|[\r\n]", before)
    return Place(len(lines), len(lines[-1]) + 1)


def _name_of(character: str) -> str:
    return f"the control character U+{ord(character):04X}"


class _Events(Reader, Scanner, Parser):
    """PyYAML's reader, scanner and parser in Python; nothing that builds objects."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


@dataclass
class _Open:
    """A mapping or sequence whose end has not come; `key` waits for its value."""

    path: Path
    value: dict[str, Any] | list[Any]
    key: str | None = None
    is_again: bool = False


class _Builder:
    """Turns events into data, refusing on the way. Never recursive."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.stack: list[_Open] = []
        self.root: Any = None
        self.nodes = 0
        self.documents = 0

    def build(self, text: str) -> Any:
        for event in self._events(text):
            self._take(event)
        if not self.documents:
            self._refuse((), Place(1, 1), "Required value: the file is empty")
            raise Unreadable
        return self.root

    def _events(self, text: str) -> Iterator[yaml.Event]:
        """PyYAML's events; whatever it raises becomes a problem with a place."""
        source = _Events(text)
        try:
            while source.check_event():
                yield source.get_event()  # type: ignore[no-untyped-call]
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark or source.get_mark()
            self._unreadable(_place(mark), _in_our_words(error))
        except (yaml.YAMLError, *_ESCAPING):
            self._unreadable(_place(source.get_mark()), "this cannot be read")

    def _unreadable(self, place: Place, message: str) -> None:
        _stop(self.document, place, f"Invalid YAML: {message}")

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._document_starts(event)
        elif isinstance(event, yaml.NodeEvent):
            self._node(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()

    def _document_starts(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            place = _place(event.start_mark)
            message = "Forbidden: one document per file, a second one begins here"
            _stop(self.document, place, message)

    def _node(self, event: yaml.NodeEvent) -> None:
        place = _place(event.start_mark)
        self.nodes += 1
        if self.nodes > NODES_MAX:
            _stop(self.document, place, f"Too long: more than {NODES_MAX} values")
        if len(self.stack) >= DEPTH_MAX:
            message = f"Too long: nested deeper than {DEPTH_MAX} levels"
            _stop(self.document, place, message)
        if self._awaits_key():
            self._key(event, place)
        else:
            self._value(event, place)

    def _awaits_key(self) -> bool:
        top = self.stack[-1] if self.stack else None
        return top is not None and isinstance(top.value, dict) and top.key is None

    def _key(self, event: yaml.NodeEvent, place: Place) -> None:
        top = self.stack[-1]
        if not isinstance(event, yaml.ScalarEvent):
            message = "Invalid value: a key must be text, in quotes if it begins so"
            _stop(self.document, place, message)
            return
        top.key = event.value
        path = (*top.path, event.value)
        self._refuse_features(event, path, place)
        self._refuse_controls(event.value, path, place)
        if event.value == "<<" and event.implicit[0]:
            message = "Forbidden: merge keys are not supported, write the values out"
            self._refuse(path, place, message)
        first = self.document.key_places.setdefault(path, place)
        top.is_again = event.value in top.value
        if top.is_again:
            message = f"Duplicate value: first set at line {first.line}"
            self.document.note(path, place, message)

    def _value(self, event: yaml.NodeEvent, place: Place) -> None:
        path = self._next_path()
        self.document.places.setdefault(path, place)
        self._refuse_features(event, path, place)
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_controls(event.value, path, place)
            self._attach(self._scalar(event, path))
        elif isinstance(event, yaml.CollectionStartEvent):
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            value: dict[str, Any] | list[Any] = {} if is_mapping else []
            self._attach(value)
            self.stack.append(_Open(path, value))
        else:
            self._attach(None)

    def _next_path(self) -> Path:
        if not self.stack:
            return ()
        top = self.stack[-1]
        part = len(top.value) if isinstance(top.value, list) else top.key or ""
        return (*top.path, part)

    def _attach(self, value: Any) -> None:
        """Put a value where it belongs; the second of two equal keys is left out."""
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
            return
        if not top.is_again:
            top.value[top.key or ""] = value
        top.key = None

    def _scalar(self, event: yaml.ScalarEvent, path: Path) -> Any:
        text: str = event.value
        self.document.texts.setdefault(path, text)
        if not event.implicit[0]:
            return text
        value = scalars.plain(text)
        if isinstance(value, str) and scalars.differs_in_yaml_1_1(text):
            self.document.ambiguous.append(path)
        return value

    def _refuse_features(self, event: yaml.NodeEvent, path: Path, place: Place) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            message = "anchors and aliases are not supported, write the value out"
            if isinstance(event, yaml.AliasEvent):
                message += ", or put a text that begins with * in quotes"
            self._refuse(path, place, f"Forbidden: {message}")
        if getattr(event, "tag", None) is not None:
            message = "Forbidden: tags are not supported, a text with ! needs quotes"
            self._refuse(path, place, message)

    def _refuse_controls(self, text: str, path: Path, place: Place) -> None:
        if found := _CONTROL.search(text):
            message = f"Invalid value: holds {_name_of(found.group())}"
            self._refuse(path, place, message)

    def _refuse(self, path: Path, place: Place, message: str) -> None:
        self.document.spoil(path, place, message)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _in_our_words(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "")
    if "'\\t'" in problem:
        return "a tab cannot stand here, use spaces"
    if "mapping values are not allowed" in problem:
        return 'a second ":" on this line, put a text that holds ": " in quotes'
    return visible(problem, 100) or "this cannot be read"
