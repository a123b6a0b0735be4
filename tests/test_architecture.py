"""The house rules, checked: imports point up, one adapter per outside world, sizes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPS = ["applications", "builds", "runtime", "zerverless_site"]
FILES = sorted(
    path
    for app in APPS
    for path in (ROOT / app).rglob("*.py")
    if "migrations" not in path.parts
)
GIT_ADAPTER = {"applications/repository.py"}
DOCKER_ADAPTERS = {
    "builds/engine.py",
    "runtime/engine.py",
    "runtime/engine_client.py",
    "runtime/engine_files.py",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or ""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_up(path: Path) -> None:
    home = APPS.index(path.relative_to(ROOT).parts[0])
    below = set(APPS[home + 1 :])
    wrong = [name for _, name in imports(path) if name.split(".")[0] in below]
    assert not wrong, f"{name_of(path)} imports {wrong}: that runs against the flow"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_import_hides_inside_a_function(path: Path) -> None:
    hidden = [
        ast.unparse(inner)
        for node in functions(path)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not hidden, f"{name_of(path)}: {hidden}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_outside_worlds_have_one_adapter_each(path: Path) -> None:
    roots = {name.split(".")[0] for _, name in imports(path)}
    if name_of(path) not in GIT_ADAPTER:
        assert not roots & {"git", "gitdb"}
    if name_of(path) not in DOCKER_ADAPTERS:
        assert "docker" not in roots


def test_adapters_never_touch_the_database() -> None:
    for name in GIT_ADAPTER | DOCKER_ADAPTERS:
        touched = [n for _, n in imports(ROOT / name) if n.endswith(".models")]
        assert not touched, f"{name} imports {touched}"


def test_functions_are_short() -> None:
    lengths = sorted(length(node) for path in FILES for node in functions(path))
    assert lengths[len(lengths) // 2] <= 10
    over = [n for n in lengths if n > 40]
    assert len(over) <= len(lengths) // 100, f"{len(over)} functions over 40 lines"
    assert lengths[-1] <= 60


def test_files_hold_one_concern() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    over = {name: size for name, size in sizes.items() if size > 300}
    assert len(over) <= max(1, len(sizes) // 25), over
    assert all(size <= 400 for size in over.values()), over


def test_the_pipeline_reads_on_one_screen_or_two() -> None:
    text = (ROOT / "zerverless_site" / "pipeline.py").read_text()
    assert len(text.splitlines()) <= 180


def test_every_task_string_names_a_function_that_takes_only_keys() -> None:
    tasks = import_module("zerverless_site.tasks")
    queue = ast.parse((ROOT / "zerverless_site" / "queue.py").read_text())
    pushed = {
        node.args[0].value
        for node in ast.walk(queue)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "push"
        and isinstance(node.args[0], ast.Constant)
    }
    scheduled = {e.task for e in import_module("zerverless_site.schedules").SCHEDULE}
    assert pushed, "no task is pushed at all: this test looks in the wrong place"
    for name in pushed | scheduled:
        hints = dict(getattr(tasks, str(name)).__annotations__)
        hints.pop("return")
        assert set(hints.values()) <= {"int"}, f"{name!r} takes more than primary keys"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_but_the_task_boundary_catches_what_is_no_error(path: Path) -> None:
    """Threat 97: the queue's time-out is a SystemExit; whoever eats it runs on."""
    handlers = (
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
    )
    for handler in handlers:
        caught = ast.unparse(handler.type) if handler.type else "BaseException"
        if re.search(r"\b(BaseException|SystemExit|TimeoutException)\b", caught):
            raised = [n for n in ast.walk(handler) if isinstance(n, ast.Raise)]
            assert raised, f"{name_of(path)}:{handler.lineno} swallows {caught}"
