"""The local copies: shared, repaired when damaged, freed when nobody needs them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from applications import git_cache, git_process, repository
from applications.errors import GitError, GitUnavailable
from tests.fixtures.git import GitServer, Repository

Make = Callable[..., Repository]


def read(repo: Repository, sha: str, path: str = "a") -> bytes:
    with repository.open_snapshot(repo.url, sha) as snapshot:
        return snapshot.read(path, 10_000_000)


def fetched(repo: Repository) -> tuple[str, Path]:
    """The newest commit, fetched; and where its cache is."""
    repository.fetch(repo.url, repo.head, "main")
    return repo.head, git_cache.path_of(repo.url)


def test_a_fetched_commit_needs_no_network(
    make_repo: Make, git_server: GitServer
) -> None:
    sha, _ = fetched(repo := make_repo("cached", {"a": "1"}))
    git_server.requests.clear()
    repository.fetch(repo.url, sha, "main")
    assert read(repo, sha) == b"1"
    assert git_server.requests == []


def test_no_working_copy_exists(make_repo: Make) -> None:
    """Threat 20: there is no checkout with a .git to be copied into an image."""
    _, path = fetched(make_repo("bare", {"a": "1", "app/b": "2"}))
    names = {entry.name for entry in path.rglob("*")}
    assert not names & {"a", "b", "app", "index", ".git", "FETCH_HEAD"}
    assert "url" not in (path / "config").read_text()


def pack_of(path: Path) -> Path:
    (pack,) = path.glob("objects/pack/*.pack")
    pack.chmod(0o600)
    return pack


def truncate_pack(path: Path) -> None:
    os.truncate(pack_of(path), 100)


def flip_bytes(path: Path) -> None:
    pack = pack_of(path)
    data = bytearray(pack.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = os.urandom(64)
    pack.write_bytes(data)


def remove_pack(path: Path) -> None:
    pack_of(path).unlink()


def remove_objects(path: Path) -> None:
    path.joinpath("objects").rename(path.with_name("elsewhere"))


def empty_head(path: Path) -> None:
    path.joinpath("HEAD").write_text("")


def spoil_config(path: Path) -> None:
    path.joinpath("config").write_text("[core\n\x00")


def remove_head(path: Path) -> None:
    path.joinpath("HEAD").unlink()


def leave_locks(path: Path) -> None:
    for name in ("shallow.lock", "config.lock", "HEAD.lock", "packed-refs.lock"):
        path.joinpath(name).touch()
    for reference in path.joinpath("refs", "zerverless").glob("*"):
        reference.with_name(reference.name + ".lock").touch()


DAMAGES = [
    truncate_pack,
    flip_bytes,
    remove_pack,
    remove_objects,
    empty_head,
    spoil_config,
    remove_head,
    leave_locks,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_made_anew_once(
    make_repo: Make, git_server: GitServer, damage: Callable[[Path], None]
) -> None:
    """Threat 34: the read fails as ours to repair, the attempt after it succeeds."""
    repo = make_repo("damaged", {"a": os.urandom(200_000)})
    sha, path = fetched(repo)
    damage(path)
    try:
        read(repo, sha)
    except GitUnavailable as error:
        assert error.code == "git:cache"  # noqa: PT017 - some damage does no harm
    repository.fetch(repo.url, sha, "main")
    assert len(read(repo, sha)) == 200_000
    git_server.requests.clear()
    repository.fetch(repo.url, sha, "main")
    assert git_server.requests == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_next_commit_is_fetched_into_a_damaged_copy(
    make_repo: Make, damage: Callable[[Path], None]
) -> None:
    """Threat 34."""
    repo = make_repo("damaged", {"a": os.urandom(200_000)})
    _, path = fetched(repo)
    damage(path)
    sha = repo.commit({"b": "new"})
    repository.fetch(repo.url, sha, "main")
    assert read(repo, sha, "b") == b"new"


def test_damage_is_repaired_by_the_fetch_itself(make_repo: Make, settings: Any) -> None:
    """Threat 34: without waiting for the lock it holds."""
    settings.ZERVERLESS_GIT_TIMEOUT = 5
    repo = make_repo("unread", {"a": os.urandom(200_000)})
    sha, path = fetched(repo)
    spoil_config(path)
    started = time.monotonic()
    repository.fetch(repo.url, sha, "main")
    assert time.monotonic() - started < 5
    assert len(read(repo, sha)) == 200_000


def test_half_a_copy_is_not_taken_for_a_whole_one(make_repo: Make) -> None:
    """Threat 34: a kill in the middle of making it, or of removing it."""
    repo = make_repo("half", {"a": "1"})
    path = git_cache.path_of(repo.url)
    for half in (path, path.with_suffix(".new")):
        (half / "objects").mkdir(parents=True)
    sha, _ = fetched(repo)
    assert read(repo, sha) == b"1"


def test_a_repository_of_another_user_has_a_readable_error(
    make_repo: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 35: git's own switch stands in for a second user."""
    repo = make_repo("owner", {"a": "1"})
    environment = git_process.environment
    monkeypatch.setattr(
        git_process,
        "environment",
        lambda url: environment(url, GIT_TEST_ASSUME_DIFFERENT_OWNER="1"),
    )
    with pytest.raises(GitError, match="belongs to another user") as error:
        repository.remote_heads(repo.file_url)
    assert error.value.code == "git:owner"


def test_many_may_fetch_the_same_at_once(
    make_repo: Make, git_server: GitServer
) -> None:
    repo = make_repo("shared", {"a": "1"})
    git_server.requests.clear()
    failures: list[Exception] = []

    def fetch() -> None:
        try:
            repository.fetch(repo.url, repo.head, "main")
        except (GitError, GitUnavailable) as error:
            failures.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    packs = [path for path in git_server.requests if path.endswith("upload-pack")]
    assert len([path for path in packs if "?" not in path]) <= 2


def test_waiting_for_another_fetch_ends(make_repo: Make, settings: Any) -> None:
    repo = make_repo("busy", {"a": "1"})
    settings.ZERVERLESS_GIT_TIMEOUT = 1
    with (
        git_cache.locked(repo.url),
        pytest.raises(GitUnavailable) as error,
    ):
        repository.fetch(repo.url, repo.head, "main")
    assert error.value.code == "git:busy"


def test_forgotten_commits_free_their_disk(make_repo: Make) -> None:
    """Threat 28: what is kept stays readable, also while it happens."""
    repo = make_repo("forget", {"a": "1"})
    shas = [repo.commit({"a": os.urandom(300_000)}) for _ in range(4)]
    for sha in shas:
        repository.fetch(repo.url, sha, "main")
    path = git_cache.path_of(repo.url)
    before = disk_use(path)
    with repository.open_snapshot(repo.url, shas[1]) as snapshot:
        repository.forget(repo.url, {shas[1], "0" * 40})
        assert len(snapshot.read("a", 400_000)) == 300_000
    assert disk_use(path) < before / 2
    assert len(read(repo, shas[1])) == 300_000
    with pytest.raises(GitUnavailable):
        read(repo, shas[0])


def disk_use(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def test_a_dropped_copy_is_gone_and_can_be_made_again(make_repo: Make) -> None:
    repo = make_repo("drop", {"a": "1"})
    sha, path = fetched(repo)
    repository.drop(repo.url)
    assert not path.exists()
    repository.drop(repo.url)
    repository.forget(repo.url, set())
    fetched(repo)
    assert read(repo, sha) == b"1"


def test_copies_nobody_uses_are_removed_after_an_hour(make_repo: Make) -> None:
    used, unused, fresh = (make_repo(name, {"a": "1"}) for name in "uvw")
    paths = [fetched(repo)[1] for repo in (used, unused, fresh)]
    for path in paths[:2]:
        os.utime(path, (0, time.time() - 4000))
    repository.keep_only({used.url})
    assert [path.exists() for path in paths] == [True, False, True]


def test_removing_a_cache_follows_no_link(tmp_path: Path, settings: Any) -> None:
    """Threat 113: what a link in the cache, or in its place, points to stays."""
    settings.DATA_DIR = tmp_path / "data"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("keep me")
    planted = git_cache.path_of("https://git.example/planted.git")
    replaced = git_cache.path_of("https://git.example/replaced.git")
    planted.mkdir(parents=True)
    (planted / "objects").symlink_to(elsewhere)
    replaced.symlink_to(elsewhere)
    repository.drop("https://git.example/planted.git")
    repository.drop("https://git.example/replaced.git")
    assert not planted.exists()
    assert (elsewhere / "precious").read_text() == "keep me"


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of its own, and no right of root to remove what modes protect."""
    folder = Path(tempfile.mkdtemp(prefix="zv-nobody-"))
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    for path in folder.rglob("*"):
        path.chmod(0o700)
    shutil.rmtree(folder)


def test_what_cannot_be_removed_is_reported_and_harms_nothing(
    as_nobody: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat 113: modes under which nobody may remove the files."""
    settings.DATA_DIR = as_nobody
    stuck, other = (f"https://git.example/{name}.git" for name in ("stuck", "other"))
    for url in (stuck, other):
        (git_cache.path_of(url) / "objects").mkdir(parents=True)
        (git_cache.path_of(url) / "objects" / "pack").touch()
        os.utime(git_cache.path_of(url), (0, 0))
    (git_cache.path_of(stuck) / "objects").chmod(0o500)
    repository.drop(stuck)
    repository.keep_only(set())
    assert git_cache.path_of(stuck).exists()
    assert not git_cache.path_of(other).exists()
    told = {
        record.getMessage().partition(" cannot be removed")[0]
        for record in caplog.records
    }
    assert told == {str(git_cache.path_of(stuck))}
