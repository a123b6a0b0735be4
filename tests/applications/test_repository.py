"""Reading repositories over HTTP as users have them."""

from __future__ import annotations

from collections.abc import Callable

from applications import repository
from tests.fixtures.git import Repository


def test_a_commit_is_fetched_and_read(make_repo: Callable[..., Repository]) -> None:
    repo = make_repo("simple", {"a/b.txt": "hello", "c": "x"})
    heads = repository.remote_heads(repo.url)
    assert heads == {"main": repo.head}
    assert repository.default_branch(repo.url) == "main"
    repository.fetch(repo.url, repo.head, "main")
    with repository.open_snapshot(repo.url, repo.head) as snapshot:
        assert snapshot.read("a/b.txt", 100) == b"hello"
        assert sorted(entry.path for entry in snapshot.entries(".")) == ["a/b.txt", "c"]
        assert snapshot.commit.subject == "First"
