"""What the formats and our own keywords in `schema/application.json` mean.

Formats are the rules of `names.py` and `quantities.py`. Keywords that begin with `x-`
are ours; editors and other readers of the schema pass over them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft7Validator, FormatChecker, ValidationError, validators

from applications import names
from applications.quantities import parse_duration, parse_size

_Measure = Callable[[str], int]
_ProblemOf = Callable[[str], str]

NO_PORT = "none"  # what `port` says of an image that exposes one and is no server
SCHEMA_PATH = Path(__file__).parent / "schema" / "application.json"
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(;[ -~]*)?\Z")
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
# What the gateway would hand on: printable ASCII, no fragment, no backslash in a path.
_REQUEST = re.compile(
    r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) "
    r"(/[!-\"$->@-\[\]-~]*)(?:\?[!-\"$-~]*)?\Z"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%[01][0-9A-Fa-f]|%7[fF]|%5[cC]")


def schema() -> dict[str, Any]:
    """The JSON Schema of a manifest."""
    return dict(json.loads(SCHEMA_PATH.read_text(encoding="utf-8")))


@cache
def validator() -> Any:
    """The validator of manifests, a `jsonschema.protocols.Validator`."""
    ours = {
        "x-supported": _supported,
        "x-minimum": lambda v, limit, value, s: _bounded(s, limit, value, sign=1),
        "x-maximum": lambda v, limit, value, s: _bounded(s, limit, value, sign=-1),
    }
    extended = validators.extend(Draft7Validator, ours)  # type: ignore[no-untyped-call]
    return extended(schema(), format_checker=_formats())


def _supported(
    validator: Any, supported: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """`false`: the key is known but not accepted; a list: these values are."""
    known = schema.get("enum", ())
    if supported is False or (value in known and value not in supported):
        yield ValidationError("not supported")


def _bounded(
    schema: dict[str, Any], limit: str, value: Any, *, sign: int
) -> Iterator[ValidationError]:
    """The bounds of a duration or size, written like one."""
    measure = _MEASURES[schema["format"]]
    try:
        beyond = sign * measure(value) < sign * measure(limit)
    except (ValueError, AttributeError):
        return  # no such quantity at all: the format says so
    if beyond:
        yield ValidationError("out of bounds")


_MEASURES = {"timespan": parse_duration, "bytesize": parse_size}


def _formats() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name, problem_of in _FORMATS.items():
        checker.checks(name, raises=ValueError)(_raising(problem_of))
    return checker


def format_problem(name: str, value: str) -> str:
    """Why `value` is not of the format `name`, or an empty string."""
    problem_of = _FORMATS.get(name)
    return problem_of(value) if problem_of else ""


def _raising(problem_of: _ProblemOf) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if isinstance(value, str) and (problem := problem_of(value)):
            raise ValueError(problem)
        return True

    return check


def _file_problem(value: str) -> str:
    if value.endswith(("/", "/.")):
        return "must name a file, not a folder"
    return names.repository_path_problem(names.normal_path(value))


def _folder_problem(value: str) -> str:
    path = names.normal_path(value)
    return "" if path == "." else names.repository_path_problem(path)


def _request_problem(value: str) -> str:
    match = _REQUEST.match(value)
    if match is None:
        return 'write a method and a path such as "GET /health"'
    if _BAD_ESCAPE.search(match[1]):
        return "holds a percent-encoding that no request may have"
    if {".", ".."} & set(unquote(match[1]).split("/")):
        return "no . or .. as a part of the path"
    return ""


def _quantity_problem(measure: _Measure, advice: str) -> _ProblemOf:
    def problem(value: str) -> str:
        try:
            measure(value)
        except ValueError:
            return advice
        return "" if value == value.strip() else advice

    return problem


def _size_with_unit(value: str) -> int:
    """A bare number could be meant as bytes or as megabytes, so it is neither."""
    if value.isdecimal():
        raise ValueError
    return parse_size(value)


def _matching(pattern: re.Pattern[str], advice: str) -> _ProblemOf:
    return lambda value: "" if pattern.match(value) else advice


_FORMATS: dict[str, _ProblemOf] = {
    "name": names.name_problem,
    "namespace": names.namespace_problem,
    "branch": names.branch_problem,
    "function-path": names.function_path_problem,
    "repository-file": _file_problem,
    "repository-folder": _folder_problem,
    "variable": names.variable_problem,
    "port": lambda value: (
        "" if value == NO_PORT else "write a port from 1 to 65535, or none"
    ),
    "check-request": _request_problem,
    "timespan": _quantity_problem(parse_duration, "write a duration such as 30s or 5m"),
    "bytesize": _quantity_problem(_size_with_unit, "write a size such as 256Mi or 1Gi"),
    "content-type": _matching(
        _CONTENT_TYPE, 'write a media type such as "text/html; charset=utf-8"'
    ),
    "build-stage": _matching(
        _STAGE, "must be letters, digits, dots, hyphens and underscores"
    ),
}
