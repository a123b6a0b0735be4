"""What prepares a build: a process that is bounded, and ended when it is told to."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from applications.errors import GitError
from builds.context import Limits
from builds.errors import BuildCancelled, BuildError
from builds.prepare import MEMORY_MAX, Order, prepared
from tests.fixtures.git import Link, Repository, eventually

Make = Callable[..., Repository]
# A second and more of honest work for each file, in every pattern.
SLOW = ("**/*[a-z]?" * 40 + "x\n") * 1900
DEEP = "/".join(["deep"] * 300)


def order_of(repo: Repository, **changes: Any) -> Order:
    order = Order(
        repo.url, repo.head, "main", ".", "Dockerfile", Limits(1 << 30, 50_000), 5
    )
    return replace(order, **changes)


def in_time() -> float:
    return time.monotonic() + 60


def processes() -> list[Path]:
    """The processes that prepare something, below the shell that guards each."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if entry.read_bytes().split(b"\0")[1:3] == [
                b"-m",
                b"builds.prepare_process",
            ]:
                found.append(entry.parent)
    return found


def test_the_tar_is_what_git_has(make_repo: Make) -> None:
    files = {"Dockerfile": "FROM busybox\n", ".dockerignore": "b\n", "a": "1", "b": "2"}
    repo = make_repo("app", files)
    with prepared(order_of(repo), lambda: False, in_time()) as (found, tar):
        assert (found.dockerfile, found.files, found.ignored) == ("Dockerfile", 3, 1)
        with tarfile.open(fileobj=tar) as members:
            assert sorted(m.name for m in members) == [
                ".dockerignore",
                "Dockerfile",
                "a",
            ]


@pytest.mark.parametrize(
    ("dockerfile", "kind", "code"),
    [
        ("# syntax=evil/x\n", BuildError, "build:syntax"),
        (Link("x"), GitError, "git:path"),
    ],
)
def test_errors_are_the_same_as_without_a_process(
    make_repo: Make, dockerfile: Any, kind: type[BuildError | GitError], code: str
) -> None:
    repo = make_repo("bad", {"Dockerfile": dockerfile})
    with (
        pytest.raises(kind, match="Dockerfile") as caught,
        prepared(order_of(repo), lambda: False, in_time()),
    ):
        pass
    assert caught.value.code == code


def test_a_cancel_or_the_deadline_ends_it_within_two_seconds(make_repo: Make) -> None:
    """Threats 41, 42 and 125: in the midst of the patterns, and memory is bounded."""
    files = {f"{DEEP}/{number}": "x" for number in range(200)}
    repo = make_repo(
        "slow", {**files, "Dockerfile": "FROM busybox\n", ".dockerignore": SLOW}
    )
    asked: list[float] = []
    limits: list[str] = []

    def cancel() -> bool:
        limits.extend((process / "limits").read_text() for process in processes())
        if any(f"Max address space         {MEMORY_MAX}" in text for text in limits):
            asked.append(time.monotonic())
        return bool(asked)

    with (
        pytest.raises(BuildCancelled),
        prepared(order_of(repo), cancel, in_time()),
    ):
        pass
    assert time.monotonic() - asked[0] < 2
    with (
        pytest.raises(BuildError, match="DOCKER_BUILD_TIMEOUT") as caught,
        prepared(order_of(repo), lambda: False, time.monotonic() + 0.1),
    ):
        pass
    assert caught.value.code == "build:timeout"
    assert eventually(lambda: not processes())
