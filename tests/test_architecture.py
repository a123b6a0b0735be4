"""The house rules, checked: imports point up, one adapter per outside world, sizes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

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
    "builds/engine_client.py",
    "builds/engine_registry.py",
    "runtime/engine.py",
    "runtime/engine_client.py",
    "runtime/engine_files.py",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or ""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_imports_point_up() -> None:
    wrong = []
    for path in FILES:
        below = set(APPS[APPS.index(path.relative_to(ROOT).parts[0]) + 1 :])
        found = [name for _, name in imports(path) if name.split(".")[0] in below]
        wrong += [f"{name_of(path)} imports {name}" for name in found]
    assert not wrong, "that runs against the flow"


def test_no_import_hides_inside_a_function() -> None:
    hidden = [
        f"{name_of(path)}: {ast.unparse(inner)}"
        for path in FILES
        for node in functions(path)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not hidden


def test_outside_worlds_have_one_adapter_each() -> None:
    wrong = []
    for path in FILES:
        roots = {name.split(".")[0] for _, name in imports(path)}
        if name_of(path) not in GIT_ADAPTER and roots & {"git", "gitdb"}:
            wrong.append(f"{name_of(path)} uses Git")
        if name_of(path) not in DOCKER_ADAPTERS and "docker" in roots:
            wrong.append(f"{name_of(path)} uses Docker")
    assert not wrong


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


def test_nothing_but_the_task_boundary_catches_what_is_no_error() -> None:
    """Threat 97: the queue's time-out is a SystemExit; whoever eats it runs on."""
    swallowed = [
        f"{name_of(path)}:{handler.lineno}"
        for path in FILES
        for handler in ast.walk(tree_of(path))
        if isinstance(handler, ast.ExceptHandler) and _swallows(handler)
    ]
    assert not swallowed


def _swallows(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else "BaseException"
    if not re.search(r"\b(BaseException|SystemExit|TimeoutException)\b", caught):
        return False
    return not any(isinstance(node, ast.Raise) for node in ast.walk(handler))
