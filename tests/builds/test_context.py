"""The context as Git has it: exactly what Docker would get, and nothing more."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from applications import repository
from applications.errors import GitError
from applications.repository import Snapshot
from builds import context
from builds.context import OUTSIDE, Limits
from builds.errors import BuildError
from tests.fixtures.git import Executable, Link, Repository, Submodule

LIMITS = Limits(1 << 20, 1000)
FROM = "FROM busybox\n"
Make = Callable[..., Repository]


@contextmanager
def opened(make_repo: Make, files: dict[str, Any]) -> Iterator[Snapshot]:
    repo = make_repo("app", files)
    repository.fetch(repo.url, repo.head, "main")
    with repository.open_snapshot(repo.url, repo.head) as snapshot:
        yield snapshot


def pack(
    make_repo: Make,
    files: dict[str, Any],
    root: str = ".",
    file: str = "Dockerfile",
    limits: Limits = LIMITS,
) -> dict[str, tarfile.TarInfo]:
    with opened(make_repo, files) as snapshot:
        found = context.survey(snapshot, root, file, limits)
        with tarfile.open(fileobj=tar_of(found, 1_000_000_000)) as members:
            return {info.name: info for info in members}


def tar_of(found: context.Context, when: int = 0) -> io.BytesIO:
    tar = io.BytesIO()
    context.pack(found, tar, when)
    tar.seek(0)
    return tar


def test_files_keep_their_kind_and_mode(make_repo: Make) -> None:
    files = {
        "Dockerfile": FROM,
        "run": Executable("#!/bin/sh\n"),
        "a/b.txt": "hello",
        "link": Link("a/b.txt"),
        "é \n": "odd name",
    }
    packed = pack(make_repo, files)
    assert set(packed) == set(files)
    assert (packed["run"].mode, packed["a/b.txt"].mode) == (0o755, 0o644)
    assert packed["link"].issym()
    assert packed["link"].linkname == "a/b.txt"
    assert {info.mtime for info in packed.values()} == {1_000_000_000}


def test_only_the_context_is_sent(make_repo: Make) -> None:
    """Threats 20 and 42: neither .git nor anything beside the context."""
    packed = pack(
        make_repo,
        {"svc/api/Dockerfile": FROM, "svc/api/x": "1", "svc/other": "2", "top": "3"},
        "./svc/api",
        "./svc/api/Dockerfile",
    )
    assert set(packed) == {"Dockerfile", "x"}


def test_a_link_is_stored_and_never_followed(make_repo: Make) -> None:
    """Threat 25."""
    targets = {"passwd": "/etc/passwd", "up": "../../../etc/shadow", "git": ".git"}
    files = {name: Link(target) for name, target in targets.items()}
    packed = pack(make_repo, {"Dockerfile": FROM, **files})
    assert {n: i.linkname for n, i in packed.items() if i.issym()} == targets


@pytest.mark.parametrize(
    "files",
    [
        {"ctx": Link("real"), "real/Dockerfile": FROM},
        {"ctx/Dockerfile": Link("../secret"), "secret": FROM},
        {"ctx/Dockerfile": FROM, "ctx/.dockerignore": Link("/etc/passwd")},
        {"ctx/Dockerfile/x": FROM},
        {"other": "no context at all"},
    ],
)
def test_a_linked_or_missing_place_is_refused(make_repo: Make, files: Any) -> None:
    """Threats 10, 25 and 41."""
    with pytest.raises(GitError, match="ctx"):
        pack(make_repo, files, "ctx", "ctx/Dockerfile")


def test_a_submodule_is_left_out_and_told(make_repo: Make) -> None:
    """Threat 24."""
    files = {"Dockerfile": FROM, "lib": Submodule("1" * 40)}
    with opened(make_repo, files) as snapshot:
        found = context.survey(snapshot, ".", "Dockerfile", LIMITS)
    assert found.submodules == ["lib"]
    assert [entry.path for entry in found.entries] == ["Dockerfile"]


def test_a_dockerfile_outside_the_context_is_added(make_repo: Make) -> None:
    files = {"docker/api": FROM, "docker/api.dockerignore": "x\n", "src/x": "1"}
    packed = pack(make_repo, {**files, "src/y": "2"}, "src", "docker/api")
    assert set(packed) == {"y", OUTSIDE}
    assert packed[OUTSIDE].size == len(FROM)


def test_ignored_files_stay_out_but_the_dockerfile_is_sent(make_repo: Make) -> None:
    files = {"Dockerfile": FROM, ".dockerignore": "*\n!keep\n", "keep/a": "1", "b": "2"}
    assert set(pack(make_repo, files)) == {"Dockerfile", ".dockerignore", "keep/a"}


def test_the_ignore_file_beside_the_dockerfile_comes_first(make_repo: Make) -> None:
    files = {
        "web.Dockerfile": FROM,
        "web.Dockerfile.dockerignore": "b\n",
        ".dockerignore": "a\n",
        "a": "1",
        "b": "2",
    }
    packed = pack(make_repo, files, ".", "web.Dockerfile")
    assert "a" in packed
    assert "b" not in packed


@pytest.mark.parametrize("limits", [Limits(100, 1000), Limits(1 << 20, 3)])
def test_limits_hold_before_a_byte_is_packed(make_repo: Make, limits: Limits) -> None:
    """Threat 42."""
    files = {"Dockerfile": FROM} | {f"f{n}": "x" * 50 for n in range(5)}
    with pytest.raises(BuildError, match=r"\.dockerignore") as caught:
        pack(make_repo, files, limits=limits)
    assert caught.value.code == "build:context"


def test_what_is_ignored_does_not_count(make_repo: Make) -> None:
    files = {"Dockerfile": FROM, "big": "x" * 200, ".dockerignore": "big\n"}
    assert "big" not in pack(make_repo, files, limits=Limits(100, 2))


def test_the_same_commit_gives_the_same_bytes(make_repo: Make) -> None:
    files = {"Dockerfile": FROM, "b/c": "1", "a": "2", "link": Link("a")}
    with opened(make_repo, files) as snapshot:
        tars = []
        for _ in range(2):
            found = context.survey(snapshot, ".", "Dockerfile", LIMITS)
            tars.append(tar_of(found, 5).read())
    assert tars[0] == tars[1]


def test_a_foreign_frontend_is_refused_at_its_line(make_repo: Make) -> None:
    files = {"d/Dockerfile": "# syntax=evil/frontend\n"}
    with pytest.raises(BuildError, match=r"^d/Dockerfile:1: "):
        pack(make_repo, files, "d", "d/Dockerfile")


def test_a_dockerfile_that_is_not_utf8_arrives_byte_for_byte(make_repo: Make) -> None:
    latin = b"# syntax=docker/dockerfile:1\n# caf\xe9\nFROM busybox\n"
    with opened(make_repo, {"Dockerfile": latin}) as snapshot:
        found = context.survey(snapshot, ".", "Dockerfile", LIMITS)
        with tarfile.open(fileobj=tar_of(found)) as members:
            content = members.extractfile("Dockerfile")
            assert content is not None
            assert content.read() == latin
