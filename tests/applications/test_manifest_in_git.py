"""Manifests as commits bring them: every form, through real Git and into the tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from applications import declare, observe
from applications.errors import UserError
from applications.models import Application, Function, Revision
from tests.fixtures.git import Link, Repository, Submodule
from tests.fixtures.manifests import ORIGINAL, with_function
from tests.fixtures.rows import make_application

Make = Callable[..., Repository]
NAME = "zerverless.yaml"


def observed(repo: Repository, namespace: str = "alice") -> observe.Observation:
    return observe.observe(repo.url, "main", NAME, namespace)


def test_a_good_commit_becomes_a_manifest(make_repo: Make) -> None:
    seen = observed(make_repo("good", {NAME: ORIGINAL}))
    assert seen.manifest is not None
    assert [spec.path for spec in seen.manifest.functions] == ["/api"]
    assert not seen.problems


@pytest.mark.parametrize(
    "content",
    [
        Link("/etc/passwd"),
        Link("other.yaml"),
        Submodule("1" * 40),
        "# filler\n" * 20_000,
        b"\0" * (1 << 20),
    ],
    ids=["link outside", "link inside", "submodule", "too large", "larger still"],
)
def test_what_is_no_small_plain_file_is_refused(make_repo: Make, content: Any) -> None:
    """Threat 4."""
    seen = observed(make_repo("odd", {NAME: content, "other.yaml": ORIGINAL}))
    assert seen.manifest is None
    (problem,) = seen.problems
    assert problem.file == NAME
    assert NAME in problem.message
    assert "root:" not in problem.message


@pytest.mark.parametrize("files", [{"README": "x"}, {f"{NAME}/a": "x"}])
def test_an_absent_manifest_and_a_folder_are_refused(
    make_repo: Make, files: dict[str, str]
) -> None:
    """Threat 4."""
    repo = make_repo("absent", files)
    seen = observed(repo)
    assert (seen.manifest, seen.sha) == (None, repo.head)
    assert NAME in seen.problems[0].message


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content",
    [
        "",
        "- a list",
        "words",
        "a: b\n---\nc: d",
        ORIGINAL.encode("utf-16"),
        "é: é".encode("latin-1"),
        ORIGINAL.encode() + b"\0",
        b"\xed\xa0\x80",
        with_function('env: {A: "x\\0y"}'),
        with_function('env: {"\\ud800": 1}'),
        with_function("memory: <script>alert(1)</script>"),
        with_function("x: *a"),
        "[" * 100_000,
        "a: !!python/object/apply:os.getcwd []",
    ],
)
def test_a_broken_manifest_is_stored_with_its_problems(
    make_repo: Make, content: str | bytes
) -> None:
    """Threats 1, 2, 3, 4 and 14: on the database at hand, nothing but a record."""
    application = make_application()
    revision = observe.record(application, observed(make_repo("bad", {NAME: content})))
    stored = Revision.objects.get(pk=revision.pk)
    assert stored.problems
    assert stored.problems[0]["line"] >= 1
    assert not Function.objects.exists()


@pytest.mark.django_db
def test_a_manifest_for_a_namespace_of_others_is_refused(make_repo: Make) -> None:
    """Threat 9."""
    seen = observed(make_repo("taken", {NAME: ORIGINAL}), namespace="mallory")
    assert seen.manifest is None
    assert "registered in namespace mallory" in seen.problems[0].message


def declared(application: Application) -> Function:
    """Try again while locked: SQLite in memory does not wait for a lock."""
    for _ in range(500):
        try:
            return declare.function(application, "/api")
        except OperationalError:
            time.sleep(0.01)
    raise AssertionError("the database stayed locked")


@pytest.mark.django_db(transaction=True)
def test_of_two_first_claims_of_a_path_exactly_one_wins() -> None:
    """Threat 9: two applications of one namespace race for /api."""
    rivals = [make_application(), make_application()]
    barrier, won, lost = threading.Barrier(2), [], []

    def claim(application: Application) -> None:
        barrier.wait(10)
        try:
            won.append(declared(application))
        except UserError as error:
            lost.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=claim, args=[rival]) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(won), lost) == (1, ["function:claimed"])
    assert Function.objects.declared().filter(path="/api").count() == 1
