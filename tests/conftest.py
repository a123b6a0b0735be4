"""Every module in tests/fixtures/ is a plugin of fixtures of one concern."""

from __future__ import annotations

from pathlib import Path

import pytest

# First, so that one fixture module may import from another.
pytest.register_assert_rewrite("tests.fixtures")
pytest_plugins = [
    f"tests.fixtures.{path.stem}"
    for path in sorted(Path(__file__).parent.joinpath("fixtures").glob("[!_]*.py"))
]
