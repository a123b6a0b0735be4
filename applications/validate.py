"""Holds a manifest against its JSON Schema and says what is wrong, in our words.

`schema/application.json` is the source; `keywords.py` says what its own formats and
keywords mean. Reasons (Required value, Invalid value, Unsupported value, Duplicate
value, Unknown field, Forbidden, Too long) are Kubernetes' field error types.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from applications import keywords
from applications.errors import Problem
from applications.positions import Document, Path, visible

# A manifest with ten thousand mistakes need not name them all, nor cost their time.
_ERRORS_MAX = 1000
_UNKNOWN_MAX = 100  # in one mapping
_NOT_YET = "not supported yet by this version"
# jsonschema's ValidationError; its types allow for attributes that are not set yet.
_Error = Any
_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def problems(document: Document) -> list[Problem]:
    """Everything the schema says against the document, at most one per place."""
    errors = islice(keywords.validator().iter_errors(document.data), _ERRORS_MAX)
    found: dict[Path, Problem] = {}
    for error in sorted(errors, key=_weight):
        for problem_at, problem in _described(document, error):
            if not _is_spoiled(document, problem_at):
                found.setdefault(problem_at, problem)
    return list(found.values())


def _weight(error: _Error) -> int:
    """Of several complaints about one value the plainest is told."""
    order = ["type", "x-supported", "enum", "minLength", "maxLength", "format"]
    return order.index(error.validator) if error.validator in order else len(order)


def _is_spoiled(document: Document, path: Path) -> bool:
    """Whether the text there, or around it, was refused already."""
    return any(path[:depth] in document.spoiled for depth in range(len(path) + 1))


def _described(document: Document, error: _Error) -> Iterator[tuple[Path, Problem]]:
    path: Path = tuple(error.absolute_path)
    describe = _DESCRIBE.get(str(error.validator))
    if error.validator == "additionalProperties":
        for key in _unknown(error):
            at = (*path, key)
            message = f"Unknown field: {_suggestion(key, error)}"
            yield at, document.problem(at, message, at_key=True)
    elif error.validator == "required":
        for key in _missing(error):
            at = (*path, key)
            yield at, document.problem(at, "Required value")
    elif "propertyNames" in error.absolute_schema_path:
        at = (*path, error.instance)
        yield at, document.problem(at, _invalid(error), at_key=True)
    elif error.validator == "x-supported" and error.validator_value is False:
        message = f'Forbidden: "{path[-1]}" is {_NOT_YET}'
        yield path, document.problem(path, message, at_key=True)
    elif error.validator == "uniqueItems":
        yield from _repeated(document, path, error.instance)
    elif describe:
        yield path, document.problem(path, describe(document, path, error))


def _unknown(error: _Error) -> list[str]:
    known = error.schema.get("properties", {})
    keys = (k for k in error.instance if k not in known and not k.startswith("x-"))
    return list(islice(keys, _UNKNOWN_MAX))


def _suggestion(key: str, error: _Error) -> str:
    by_case = {name.lower(): name for name in error.schema["properties"]}
    near = difflib.get_close_matches(key.lower()[:60], by_case, n=1)
    if near:
        return f'did you mean "{by_case[near[0]]}"?'
    usable = [
        name
        for name, rule in error.schema["properties"].items()
        if rule.get("x-supported") is not False
    ]
    return f"use {', '.join(usable)}, or a name that begins with x-"


def _missing(error: _Error) -> list[str]:
    return [key for key in error.validator_value if key not in error.instance]


def _repeated(
    document: Document, path: Path, items: list[Any]
) -> Iterator[tuple[Path, Problem]]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        earlier = first.setdefault(repr(item), index)
        if earlier < index:
            line = document.problem((*path, earlier), "").line
            at = (*path, index)
            message = f"Duplicate value: first set at line {line}"
            yield at, document.problem(at, message)


def _wrong_type(document: Document, path: Path, error: _Error) -> str:
    if error.instance is None:
        return "Required value"
    wanted = error.validator_value
    kinds = [wanted] if isinstance(wanted, str) else wanted
    message = f"Invalid value: must be {' or '.join(_TYPES[kind] for kind in kinds)}"
    text = document.texts.get(path)
    if text is None or "string" not in kinds:
        return message
    if "enum" in error.schema:
        return _not_listed(document, path, error)
    if advice := keywords.format_problem(error.schema.get("format", ""), text):
        return f"Invalid value: {advice}"
    return f'{message}, write "{visible(text, 30)}" in quotes'


def _not_listed(document: Document, path: Path, error: _Error) -> str:
    known = error.schema.get("x-supported") or error.schema["enum"]
    value = visible(document.texts.get(path, ""), 40)
    return f'Unsupported value "{value}": use {", ".join(known)}'


def _not_yet(document: Document, path: Path, error: _Error) -> str:
    known = ", ".join(error.validator_value)
    return f'Unsupported value "{error.instance}": {_NOT_YET}, use {known}'


def _out_of_range(document: Document, path: Path, error: _Error) -> str:
    bounds = error.schema
    low = bounds.get("minimum", bounds.get("x-minimum"))
    high = bounds.get("maximum", bounds.get("x-maximum"))
    return f"Invalid value: must be between {low} and {high}"


def _invalid(error: _Error) -> str:
    cause = str(error.cause)
    return cause if cause.startswith("Forbidden: ") else f"Invalid value: {cause}"


_Describe = Callable[[Document, Path, _Error], str]
_DESCRIBE: dict[str, _Describe] = {
    "type": _wrong_type,
    "enum": _not_listed,
    "x-supported": _not_yet,
    "format": lambda document, path, error: _invalid(error),
    "pattern": lambda document, path, error: "Invalid value",
    "minLength": lambda document, path, error: "Required value",
    "minItems": lambda document, path, error: "Required value: the list is empty",
    "maxLength": lambda document, path, error: (
        f"Too long: at most {error.validator_value} characters"
    ),
    "maxItems": lambda document, path, error: (
        f"Too long: at most {error.validator_value} items"
    ),
    "maxProperties": lambda document, path, error: (
        f"Too long: at most {error.validator_value} entries"
    ),
    **dict.fromkeys(("minimum", "maximum", "x-minimum", "x-maximum"), _out_of_range),
}
