"""docs/threats.md names the tests there are: `python -m tests.test_threats`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "threats.md"
REQUIRED = {
    *chain(range(1, 17), range(20, 24), [25, 37], range(40, 49), range(56, 64)),
    *chain([68, 69, 73, 74, 78], range(86, 89), range(95, 103), range(111, 115)),
}
REASON = "Not tested: "
_NAMED = re.compile(r"\bthreats? (\d+(?:(?:, and |, | and | to |-)\d+)*)", re.I)
_ROW = re.compile(r"^\| (?P<number>\d+) \| .+ \| (?P<promise>.+) \| (?P<tests>.*) \|$")


def numbers_in(text: str) -> Iterator[int]:
    """The numbers of "Threat 7", "Threats 1, 2 and 5", "Threats 56 to 59"."""
    for match in _NAMED.finditer(text):
        for part in re.split(r", and |, | and ", match[1]):
            first, *rest = map(int, re.split(r" to |-", part))
            yield from range(first, (rest or [first])[0] + 1)


def _texts(tree: ast.Module) -> Iterator[str]:
    """Docstrings of the module and its tests, and texts in the tests' decorators."""
    yield ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield ast.get_docstring(node) or ""
            for inner in chain.from_iterable(map(ast.walk, node.decorator_list)):
                if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                    yield inner.value


def collected() -> dict[int, list[str]]:
    """The test files, in the order of their names, that name each threat."""
    found: dict[int, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path == Path(__file__):
            continue
        texts = _texts(ast.parse(path.read_text()))
        for number in set(chain.from_iterable(map(numbers_in, texts))):
            found.setdefault(number, []).append(str(path.relative_to(ROOT / "tests")))
    return found


def rows() -> dict[int, re.Match[str]]:
    """The rows of the page by number."""
    matches = filter(None, map(_ROW.match, PAGE.read_text().splitlines()))
    return {int(match["number"]): match for match in matches}


def cell(files: list[str]) -> str:
    """What the page's last column says."""
    return ", ".join(f"[{file}](../tests/{file})" for file in files) or "none"


def rewrite() -> None:
    """Bring the page's last column up to date."""
    found, lines = collected(), []
    for line in PAGE.read_text().splitlines():
        if row := _ROW.match(line):
            tests = cell(found.get(int(row["number"]), []))
            line = f"{line[: row.start('tests')]}{tests} |"
        lines.append(line)
    PAGE.write_text("\n".join(lines) + "\n")


def test_every_threat_that_matters_has_a_test_or_a_reason() -> None:
    found = collected()
    for number in sorted(REQUIRED):
        row = rows().get(number)
        assert row, f"docs/threats.md has no row {number}"
        assert number in found or REASON in row["promise"], f"row {number}"


def test_the_page_names_the_tests_there_are() -> None:
    found = collected()
    assert found.keys() <= rows().keys(), "tests name threats the page does not have"
    for number, row in rows().items():
        assert row["tests"] == cell(found.get(number, [])), (
            f"row {number} is out of date: run python -m tests.test_threats"
        )


if __name__ == "__main__":
    rewrite()
