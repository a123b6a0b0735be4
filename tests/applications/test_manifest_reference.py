"""The schema is sound, and page, defaults and rules agree with it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from applications import compose, keywords, manifest_reference
from applications.spec import FunctionSpec
from runtime.http_request import METHODS
from tests.fixtures.manifests import parsed, problems, with_function

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "manifest.md").read_text()
FUNCTION: dict[str, Any] = keywords.schema()["definitions"]["function"]["properties"]
# Keywords of later drafts would not be understood by editors.
LATER = {"$defs", "unevaluatedProperties", "dependentRequired", "minContains"}


def rules(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in the schema."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from rules(value)


def examples() -> list[str]:
    return re.findall(r"```yaml\n(apiVersion.*?)```", PAGE, re.DOTALL)


def test_the_schema_is_draft_7() -> None:
    Draft7Validator.check_schema(keywords.schema())
    assert not any(LATER & rule.keys() for rule in rules(keywords.schema()))


def test_every_key_is_described() -> None:
    for rule in rules(keywords.schema()):
        for name, key in rule.get("properties", {}).items():
            assert "$ref" in key or str(key["description"]).endswith("."), name


def test_every_format_is_known() -> None:
    used = {rule["format"] for rule in rules(keywords.schema()) if "format" in rule}
    used = {name for name in used if isinstance(name, str)}
    assert used == set(keywords.validator().format_checker.checkers)


def test_patterns_for_editors_agree_with_the_formats() -> None:
    """A value with a pattern is accepted by both or by neither."""
    for rule in rules(keywords.schema()):
        if "pattern" not in rule or "format" not in rule:
            continue
        for value in (
            "a",
            "my-app",
            "-a",
            "a-",
            "A",
            "5m",
            "5",
            "64Mi",
            "64MiB",
            "64MB",
        ):
            by_pattern = bool(re.search(rule["pattern"], value))
            assert by_pattern == (not keywords.format_problem(rule["format"], value))


def test_examples_and_defaults_are_accepted() -> None:
    for key, rule in FUNCTION.items():
        if key in {"path", "runtime"}:
            continue
        for value in [*rule.get("examples", ()), rule.get("default")]:
            assert value is None or not problems(with_function(f"{key}: {value}")), key


def test_defaults_are_those_of_the_code() -> None:
    (left_out,) = parsed(with_function()).functions
    defaults = {k: r["default"] for k, r in FUNCTION.items() if "default" in r}
    body = [f"{key}: {value}" for key, value in defaults.items()]
    (spelled_out,) = parsed(with_function(*body)).functions
    assert left_out == spelled_out
    plain = FunctionSpec("/api", "docker", "Dockerfile", ".")
    assert left_out == dataclasses.replace(plain, timeout=left_out.timeout)


def test_the_methods_are_those_the_platform_serves() -> None:
    assert FUNCTION["methods"]["items"]["enum"] == list(METHODS)


def test_the_page_holds_the_generated_reference() -> None:
    assert manifest_reference.reference() in PAGE, (
        "run python -m zerverless_site.reference"
    )


def test_every_key_is_on_the_page() -> None:
    for rule in rules(keywords.schema()):
        for name in rule.get("properties", {}):
            assert f"`{name}`" in manifest_reference.reference()


@pytest.mark.parametrize("text", examples())
def test_examples_on_the_page_are_good(text: str) -> None:
    assert parsed(text).warnings == ()


def test_limits_on_the_page_are_those_of_the_code() -> None:
    limits = f"{compose.SIZE_MAX >> 10} KiB, {compose.NODES_MAX:,} values"
    assert f"Limits: {limits}, {compose.DEPTH_MAX} levels, 200 functions" in PAGE
