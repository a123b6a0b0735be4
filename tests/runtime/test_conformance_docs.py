"""The limits docs/http.md names are the ones there are."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "http.md"
UNITS = {"s": 1, "KiB": 1024, "": 1}
ROWS = re.findall(r"\| (\d+) ?(s|KiB|) \| `(\w+)\.(\w+)` \|", PAGE.read_text())


@pytest.mark.parametrize(("number", "unit", "module", "constant"), ROWS)
def test_a_limit(number: str, unit: str, module: str, constant: str) -> None:
    found = getattr(import_module(f"runtime.{module}"), constant)
    assert found == int(number) * UNITS[unit]


def test_there_are_some() -> None:
    assert len(ROWS) == 13
