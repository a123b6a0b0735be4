"""Branches that move, vanish and are rewritten, and repositories of unusual kinds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from applications import observe, repository
from applications.errors import GitError, GitUnavailable
from tests.fixtures.git import GitServer, Repository, run_git

Make = Callable[..., Repository]


def content(repo: Repository, sha: str) -> bytes:
    """What the file `a` holds in a commit, through fetch and snapshot."""
    repository.fetch(repo.url, sha, "main")
    with repository.open_snapshot(repo.url, sha) as snapshot:
        return snapshot.read("a", 100)


def test_branches_and_the_default_branch_are_listed(make_repo: Make) -> None:
    repo = make_repo("branches", {"a": "1"})
    feature = repo.commit({"a": "2"}, branch="feature/x")
    seen = repository.look(repo.url)
    assert seen.heads == {"main": repo.head, "feature/x": feature}
    assert seen.default_branch == "main"


def test_an_empty_repository_has_no_branches(make_repo: Make) -> None:
    """Threat 29."""
    seen = repository.look(make_repo("empty").url)
    assert (seen.heads, seen.default_branch) == ({}, None)


def test_a_renamed_default_branch_is_seen(make_repo: Make) -> None:
    """Threat 29."""
    repo = make_repo("renamed", {"a": "1"})
    repo.git("branch", "-m", "main", "trunk")
    seen = repository.look(repo.url)
    assert (seen.heads, seen.default_branch) == ({"trunk": repo.head}, "trunk")
    with pytest.raises(GitError, match="Branches: trunk") as error:
        observe.head_of(seen.heads, "main")
    assert error.value.code == "git:branch"


def test_a_detached_head_is_no_branch(make_repo: Make) -> None:
    """Threat 29."""
    repo = make_repo("detached", {"a": "1"})
    (repo.path / "HEAD").write_text(repo.head + "\n")
    assert repository.default_branch(repo.url) is None
    assert repository.remote_heads(repo.url) == {"main": repo.head}


def test_a_tag_named_like_the_branch_is_not_the_branch(make_repo: Make) -> None:
    """Threat 29."""
    repo = make_repo("tag", {"a": "1"})
    old = repo.head
    new = repo.commit({"a": "2"})
    repo.git("tag", "main", old)
    repo.git("update-ref", "refs/heads/refs/heads/main", old)
    assert repository.remote_heads(repo.url)["main"] == new
    assert content(repo, new) == b"2"


def test_a_rewritten_branch_is_its_new_commit(make_repo: Make) -> None:
    """Threat 29."""
    repo = make_repo("rewritten", {"a": "1"})
    old = repo.head
    assert content(repo, old) == b"1"
    new = repo.commit({"a": "2"}, fresh=True)
    assert repository.remote_heads(repo.url) == {"main": new}
    assert content(repo, new) == b"2"
    assert content(repo, old) == b"1"


def test_a_deleted_branch_leaves_its_commit_readable(make_repo: Make) -> None:
    """Threat 29: what is deployed can still be rebuilt."""
    repo = make_repo("deleted", {"a": "1"})
    sha = repo.head
    assert content(repo, sha) == b"1"
    repo.git("update-ref", "-d", "refs/heads/main")
    assert repository.remote_heads(repo.url) == {}
    assert content(repo, sha) == b"1"


def test_a_sha256_repository_is_refused_by_name(
    git_server: GitServer, make_repo: Make
) -> None:
    """Threat 29."""
    repo = make_repo("sha1", {"a": "1"})
    path = repo.path.with_name("sha256.git")
    path.mkdir()
    run_git(path, "init", "--quiet", "--bare", "--object-format=sha256")
    other = Repository(path, repo.url.replace("sha1", "sha256"))
    other.commit({"a": "1"})
    with pytest.raises(GitError, match="SHA-256") as error:
        repository.remote_heads(other.url)
    assert error.value.code == "git:format"
    with pytest.raises(GitError):
        repository.fetch(other.url, repo.head, "main")


def test_a_push_between_look_and_fetch_changes_nothing(
    make_repo: Make, git_server: GitServer
) -> None:
    """Threat 30: the commit that was resolved is the commit that is read."""
    repo = make_repo("pushed", {"a": "1"})
    sha = repository.remote_heads(repo.url)["main"]
    pushed: list[str] = []

    def push(path: str) -> None:
        if not pushed:
            pushed.append(repo.commit({"a": "2"}))

    git_server.before = push
    assert content(repo, sha) == b"1"
    assert pushed
    assert content(repo, pushed[0]) == b"2"


def test_five_pushes_are_five_commits(make_repo: Make) -> None:
    """Threat 30."""
    repo = make_repo("five", {"a": "0"})
    shas = [repo.commit({"a": str(number)}) for number in range(5)]
    assert [content(repo, sha) for sha in shas] == [b"0", b"1", b"2", b"3", b"4"]


@pytest.fixture
def old_server(git_server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without protocol 2: it sends only commits that branches point to."""
    monkeypatch.setattr(git_server, "protocol", "version=0")


def test_a_server_that_sends_only_branches_is_understood(
    make_repo: Make, old_server: None
) -> None:
    """Threat 30: the branch moved on, and its former commit is found behind it."""
    repo = make_repo("old", {"a": "1"})
    first = repo.head
    assert content(repo, first) == b"1"
    second = repo.commit({"a": "2"})
    repo.commit({"a": "3"})
    assert content(repo, second) == b"2"


def test_a_commit_that_vanished_is_looked_up_again(
    make_repo: Make, old_server: None
) -> None:
    """Threat 30: a force-push in between is no fault of the user's."""
    repo = make_repo("vanished", {"a": "1"})
    gone = repo.head
    repo.commit({"a": "2"}, fresh=True)
    with pytest.raises(GitUnavailable, match="rewritten") as error:
        repository.fetch(repo.url, gone, "main")
    assert error.value.code == "git:moved"


def test_a_commit_no_server_ever_had_is_looked_up_again(make_repo: Make) -> None:
    repo = make_repo("never", {"a": "1"})
    with pytest.raises(GitUnavailable) as error:
        repository.fetch(repo.url, "5" * 40, "main")
    assert error.value.code == "git:moved"


def test_a_deleted_branch_is_missing_at_the_fetch_too(
    make_repo: Make, old_server: None
) -> None:
    """Threat 29."""
    repo = make_repo("nobranch", {"a": "1"})
    gone = repo.head
    repo.commit({"a": "2"}, branch="other", fresh=True)
    repo.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(GitError) as error:
        repository.fetch(repo.url, gone, "main")
    assert error.value.code == "git:branch"
