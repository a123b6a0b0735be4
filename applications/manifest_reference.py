"""The reference part of `docs/manifest.md`, written from the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from applications import keywords

_KINDS = {
    "timespan": "duration",
    "bytesize": "size",
    "repository-file": "path",
    "repository-folder": "path",
    "function-path": "URL path",
    "port": "number or `none`",
}
_TYPES = {"string": "text", "object": "mapping", "array": "list", "integer": "number"}


def reference() -> str:
    """One table per mapping of the manifest, and what this version does not do yet."""
    schema = keywords.schema()
    metadata, spec = schema["properties"]["metadata"], schema["properties"]["spec"]
    source, function = spec["properties"]["source"], schema["definitions"]["function"]
    check = schema["definitions"]["check"]
    waiting = [name for name, key in _keys(function) if key.get("x-supported") is False]
    parts = [
        _table("The document", schema),
        _table("`metadata`", metadata),
        _table("`spec`", spec),
        _table("`spec.source`", source),
        _table("`spec.functions[]`", function),
        _table("`spec.functions[].instances`", function["properties"]["instances"]),
        _table("`spec.functions[].checks[]`", check),
        _table("`spec.functions[].checks[].expect`", check["properties"]["expect"]),
        "Known, but not supported yet by this version: "
        + ", ".join(f"`{name}`" for name in waiting)
        + ".",
    ]
    return "\n\n".join(parts)


def _keys(mapping: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from mapping["properties"].items()


def _table(title: str, mapping: dict[str, Any]) -> str:
    rows = [f"### {title}", "", mapping["description"], ""]
    rows += ["| key | kind | default | meaning |", "|---|---|---|---|"]
    for name, key in _keys(mapping):
        if key.get("x-supported") is not False:
            cells = [f"`{name}`", _kind(key), _default(mapping, name), _meaning(key)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _kind(key: dict[str, Any]) -> str:
    if "enum" in key:
        values = [f"`{value}`" for value in _accepted(key)]
        return ("one of " if len(values) > 1 else "") + ", ".join(values)
    if kind := _KINDS.get(key.get("format", "")):
        return kind
    return _TYPES.get(key["type"], str(key["type"]))


def _accepted(key: dict[str, Any]) -> list[str]:
    return list(key.get("x-supported") or key["enum"])


def _default(mapping: dict[str, Any], name: str) -> str:
    if name in mapping.get("required", ()):
        return "**required**"
    key = mapping["properties"][name]
    return f"`{key['default']}`" if "default" in key else ""


def _meaning(key: dict[str, Any]) -> str:
    return " ".join([key["description"], *_bounds(key), *_coming(key), *_example(key)])


def _bounds(key: dict[str, Any]) -> Iterator[str]:
    low, high = (
        key.get(bound, key.get(f"x-{bound}")) for bound in ("minimum", "maximum")
    )
    if low is not None:
        yield f"From {low} to {high}."
    if "maxItems" in key:
        yield f"At most {key['maxItems']}."
    if "maxProperties" in key:
        yield f"At most {key['maxProperties']}."


def _coming(key: dict[str, Any]) -> Iterator[str]:
    values = [v for v in key.get("enum", ()) if v not in _accepted(key)]
    if values:
        names = ", ".join(f"`{value}`" for value in values)
        yield f"Not supported yet by this version: {names}."


def _example(key: dict[str, Any]) -> Iterator[str]:
    for example in key.get("examples", ()):
        text = example if isinstance(example, str) else json.dumps(example)
        yield f"Example: `{text}`."
