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

# What touches the database: these run a second time, on PostgreSQL.
_DATABASE = {"db", "transactional_db", "stack_database", "own_gateway"}

# A daemon of the test's own is of the version that this machine has installed.
_THIS_ENGINE = {"own_daemon", "own_engine"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database-only",
        action="store_true",
        help="only tests that touch the database (for the run on PostgreSQL)",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    for item in items:
        if _THIS_ENGINE.intersection(getattr(item, "fixturenames", [])):
            item.add_marker("this_engine")
    if config.getoption("--database-only"):
        chosen = [item for item in items if _touches_database(item)]
        config.hook.pytest_deselected(items=[i for i in items if i not in chosen])
        items[:] = chosen


def _touches_database(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", [])
    return bool(_DATABASE.intersection(fixtures)) or any(item.iter_markers("django_db"))
