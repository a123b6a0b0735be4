"""What a commit can hold, from ordinary files to traps for whoever reads them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from applications import git_remote, repository
from applications.errors import GitError, GitUnavailable
from tests.fixtures.git import Executable, Link, Repository, Submodule

Make = Callable[..., Repository]
CANARY = "canary-5f1d"


@contextmanager
def fetched(repo: Repository, sha: str = "") -> Iterator[repository.Snapshot]:
    """The snapshot of the newest commit, or of `sha`."""
    sha = sha or repo.head
    repository.fetch(repo.url, sha, "main")
    with repository.open_snapshot(repo.url, sha) as snapshot:
        yield snapshot


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file outside every repository that nothing may read."""
    path = tmp_path / "outside" / "secret"
    path.parent.mkdir()
    path.write_text(CANARY)
    return path


def test_every_kind_of_entry_is_told_apart(make_repo: Make) -> None:
    files = {
        "app/run.sh": Executable("#!/bin/sh\n"),
        "app/deep/er/a.txt": "hello",
        "app/link": Link("deep/er"),
        "app/lib": Submodule("1" * 40),
        "other": "not below app",
    }
    with fetched(make_repo("kinds", files)) as snapshot:
        found = {entry.path: entry for entry in snapshot.entries("app")}
        target = snapshot.link_target(found["link"])
    told = {path: (e.kind, e.executable, e.size) for path, e in found.items()}
    assert told == {
        "run.sh": ("file", True, 10),
        "deep/er/a.txt": ("file", False, 5),
        "link": ("link", False, 7),
        "lib": ("submodule", False, 0),
    }
    assert target == b"deep/er"


def test_ids_change_with_content_and_only_then(make_repo: Make) -> None:
    repo = make_repo("ids", {"a/x": "1", "b/x": "1", "c": "1"})
    with fetched(repo) as first:
        ids = [first.tree_id(path) for path in (".", "a", "./b/")]
        blob = first.blob_id("c")
    assert ids[1] == ids[2]
    repo.commit({"a/x": "2"})
    with fetched(repo) as second:
        assert second.tree_id("b") == ids[1]
        assert second.tree_id("a") != ids[1]
        assert second.tree_id(".") != ids[0]
        assert second.blob_id("c") == blob == second.blob_id("b/x")


TRAPS = {
    "passwd": Link("/etc/passwd"),
    "environ": Link("/proc/self/environ"),
    "up": Link("../../../../outside/secret"),
    "dir": Link("real"),
    "rooted": Link("/etc"),
    "git": Link(".git/config"),
    "sub": Submodule("2" * 40),
    "real/file": "content",
}


@pytest.mark.parametrize(
    "path",
    [
        "passwd",
        "environ",
        "up",
        "dir/file",
        "rooted/passwd",
        "git",
        "sub",
        "sub/file",
        "real",
        "real/file/x",
        "missing",
        "real/missing",
        "../outside/secret",
        "real/../../outside/secret",
        "/etc/passwd",
        ".git/config",
        ".",
        "",
    ],
)
def test_only_a_plain_file_at_the_end_of_plain_directories_is_read(
    make_repo: Make, canary: Path, path: str
) -> None:
    """Threat 25."""
    with (
        fetched(make_repo("traps", TRAPS)) as snapshot,
        pytest.raises(GitError) as error,
    ):
        snapshot.read(path, 1000)
    assert error.value.code == "git:path"
    assert CANARY not in error.value.message


@pytest.mark.parametrize("path", ["dir", "rooted", "sub", "real/file", "missing", ".."])
def test_only_a_plain_directory_is_a_directory(make_repo: Make, path: str) -> None:
    """Threat 25."""
    with fetched(make_repo("traps", TRAPS)) as snapshot:
        with pytest.raises(GitError, match=path.split("/")[0]):
            snapshot.tree_id(path)
        with pytest.raises(GitError):
            list(snapshot.entries(path))


def test_a_link_is_named_as_one(make_repo: Make) -> None:
    """Threat 25: the message says what is wrong and where."""
    with fetched(make_repo("traps", TRAPS)) as snapshot:
        with pytest.raises(GitError, match='"dir/file": "dir" is a link, not a dir'):
            snapshot.read("dir/file", 10)
        with pytest.raises(GitError, match="links are not followed"):
            snapshot.read("passwd", 10)


def test_hooks_and_filters_of_a_repository_never_run(
    make_repo: Make, tmp_path: Path
) -> None:
    """Threat 26: nothing is checked out, so content arrives as it was committed."""
    ran = tmp_path / "ran"
    attributes = "* filter=lfs working-tree-encoding=UTF-16 eol=crlf ident\n"
    repo = make_repo(
        "filters",
        {
            ".gitattributes": attributes,
            ".lfsconfig": f"[lfs]\n\turl = ext::sh -c 'touch {ran}'\n",
            ".gitconfig": f"[core]\n\tfsmonitor = touch {ran}\n",
            "hooks/post-checkout": Executable(f"#!/bin/sh\ntouch {ran}\n"),
            "file": "line\n$Id$\n",
        },
    )
    with fetched(repo) as snapshot:
        assert snapshot.read("file", 100) == b"line\n$Id$\n"
    assert not ran.exists()


HOSTILE_MODULES = {
    "CVE-2018-17456": '[submodule "x"]\n\tpath = x\n\turl = -u./payload\n',
    "CVE-2024-32002": '[submodule "x/y"]\n\tpath = A/modules/x\n\turl = ./x\n',
    "CVE-2025-48384": '[submodule "x"]\n\tpath = "x\r"\n\turl = ./x\n',
    "nested": '[submodule "../../x"]\n\tpath = x\n\turl = ext::sh\n',
}


@pytest.mark.parametrize("name", HOSTILE_MODULES)
def test_submodules_are_never_fetched(
    make_repo: Make, name: str, git_server: Any
) -> None:
    """Threat 24: refused by git itself, or listed as what they are and left alone."""
    files = {
        ".gitmodules": HOSTILE_MODULES[name],
        "A": Link(".git"),
        "x": Submodule("3" * 40),
        "payload": Executable("#!/bin/sh\n"),
    }
    repo = make_repo("modules", files)
    git_server.requests.clear()
    try:
        with fetched(repo) as snapshot:
            kinds = {entry.path: entry.kind for entry in snapshot.entries(".")}
        assert kinds["x"] == "submodule"
    except GitError as error:
        assert error.code == "git:damaged"  # noqa: PT017 - either end is right
    assert {path.split("?")[0].split(".git/")[0] for path in git_server.requests} == {
        repo.url.partition("127.0.0.1:")[2].partition("/")[2].join(("/", ""))[:-4]
    }


STRANGE = [
    "new\nline",
    "esc\x1b[31m",
    "tab\tname",
    "\udcff\udcfe",
    "x" * 255,
    "Case",
    "case",
    'quote"back\\slash',
    "caf\u00e9",
    "cafe\u0301",
    "-rf",
    " ",
    "a:b",
]


def test_strange_names_arrive_byte_for_byte(make_repo: Make) -> None:
    """Threat 33."""
    repo = make_repo(
        "names", {f"d/{name}": name.encode(errors="replace") for name in STRANGE}
    )
    with fetched(repo) as snapshot:
        found = {os.fsencode(entry.path) for entry in snapshot.entries("d")}
    assert found == {os.fsencode(name) for name in STRANGE}


def test_a_strange_name_is_harmless_in_an_error(make_repo: Make) -> None:
    """Threat 33."""
    with (
        fetched(make_repo("names", {"a": "b"})) as snapshot,
        pytest.raises(GitError) as error,
    ):
        snapshot.read("esc\x1b[31m\udcff", 10)
    assert error.value.message.isprintable()


def test_directories_1500_deep_are_walked(make_repo: Make) -> None:
    """Threat 33."""
    path = "d/" * 1500 + "f"
    with fetched(make_repo("deep", {path: "bottom"})) as snapshot:
        assert [entry.path for entry in snapshot.entries(".")] == [path]
        assert snapshot.read(path, 10) == b"bottom"


def test_directories_too_deep_to_unpack_are_refused(make_repo: Make) -> None:
    """Threat 33."""
    with (
        fetched(make_repo("deeper", {"d/" * 2100 + "f": "x"})) as snapshot,
        pytest.raises(GitError, match="too deep"),
    ):
        list(snapshot.entries("."))


def test_a_file_over_its_limit_is_refused_unread(make_repo: Make) -> None:
    """Threat 28."""
    with fetched(make_repo("big", {"big": b"x" * 100_001})) as snapshot:
        with pytest.raises(GitError, match="larger than 100000 bytes"):
            snapshot.read("big", 100_000)
        assert len(snapshot.read("big", 100_001)) == 100_001


def write_object(repo: Repository, kind: str, content: bytes) -> str:
    """Write an object git's own commands would not make."""
    whole = b"%s %d\0%s" % (kind.encode(), len(content), content)
    sha = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    path = repo.path / "objects" / sha[:2] / sha[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(whole))
    return sha


def tree(repo: Repository, *entries: tuple[str, str, str]) -> str:
    """A tree object of (mode, name, id) entries."""
    parts = (
        f"{mode} {name}".encode() + b"\0" + bytes.fromhex(sha)
        for mode, name, sha in entries
    )
    return write_object(repo, "tree", b"".join(parts))


def commit_of(repo: Repository, root: str, extra: str = "", message: str = "m") -> str:
    """A commit of a tree on main, written by hand."""
    who = "Eve <eve@example.org> 1700000000 +0000"
    text = f"tree {root}\nauthor {who}\ncommitter {who}\n{extra}\n{message}"
    sha = write_object(repo, "commit", text.encode("utf-8", "surrogateescape"))
    repo.git("update-ref", "refs/heads/main", sha)
    return sha


@pytest.mark.parametrize("leaf", ["file", "nothing"])
def test_a_tree_of_billions_of_paths_ends_the_walk(make_repo: Make, leaf: str) -> None:
    """Threats 28 and 127: ten levels of ten equal directories fit into a pack."""
    repo = make_repo("bomb", {"seed": "x"})
    blob = repo.git("rev-parse", "HEAD:seed")
    root = tree(repo, *([("100644", "f", blob)] if leaf == "file" else []))
    for _ in range(10):
        root = tree(repo, *(("40000", f"d{i}", root) for i in range(10)))
    sha = commit_of(repo, root)
    repository.fetch(repo.url, sha, "main")
    before = cpu_seconds()
    with (
        repository.open_snapshot(repo.url, sha) as snapshot,
        pytest.raises(GitError, match=r"more than (50,000 directories|32 MiB)"),
    ):
        list(snapshot.entries("."))
    assert cpu_seconds() - before < 5


def cpu_seconds() -> float:
    """What this process and its ended children used: other load makes no difference."""
    return sum(os.times()[:4])


def test_a_repository_over_the_limit_is_refused_and_leaves_no_disk_used(
    make_repo: Make, settings: Any
) -> None:
    """Threat 28."""
    settings.ZERVERLESS_REPOSITORY_MAX = 1_000_000
    repo = make_repo("huge", {"blob": os.urandom(3_000_000)})
    with pytest.raises(GitError, match="ZERVERLESS_REPOSITORY_MAX") as error:
        repository.fetch(repo.url, repo.head, "main")
    assert error.value.code == "git:too-large"
    assert disk_use(Path(settings.DATA_DIR)) < 200_000


def test_many_references_are_listed_up_to_a_limit(
    make_repo: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 28: 20,000 branches are fine, more than the limit is an error."""
    repo = make_repo("refs", {"a": "b"})
    head = repo.head
    lines = "".join(f"{head} refs/heads/b{i}\n" for i in range(20_000))
    (repo.path / "packed-refs").write_text(lines)
    assert len(repository.remote_heads(repo.url)) == 20_001
    monkeypatch.setattr(git_remote, "HEADS_MAX", 100_000)
    with pytest.raises(GitError, match="more branches") as error:
        repository.remote_heads(repo.url)
    assert error.value.code == "git:too-large"


def disk_use(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "extra", ["encoding no-such-encoding\n", "encoding zlib\n", "encoding \udcff\n"]
)
def test_a_malformed_commit_is_the_users_error(make_repo: Make, extra: str) -> None:
    """Threat 33."""
    repo = make_repo("commit", {"a": "b"})
    sha = commit_of(repo, repo.git("rev-parse", "HEAD^{tree}"), extra)
    with fetched(repo, sha) as snapshot:
        try:
            assert snapshot.commit.author == "Eve"
        except GitError as error:
            assert error.code == "git:damaged"  # noqa: PT017 - either end is right


def test_the_texts_of_a_commit_are_safe_to_store(make_repo: Make) -> None:
    """Threat 33: PostgreSQL takes no NUL, a terminal and a page no control codes."""
    repo = make_repo("texts", {"a": "b"})
    message = b"sub\x1b[31mject \xff\xe2\x80\xae" + b"x" * 1000 + b"\nbody"
    repo.commit({"a": "c"}, message, author="N\x07ame <n@example.org>")
    with fetched(repo) as snapshot:
        commit = snapshot.commit
    assert commit.subject.startswith("subject \ufffd\ufffdxx")
    assert (len(commit.subject), commit.author) == (500, "N\ufffdame")
    assert commit.committed_at == datetime(2023, 11, 14, 22, 15, 20, tzinfo=UTC)


def test_contents_can_be_streamed_and_left_unread(make_repo: Make) -> None:
    big = os.urandom(3_000_000)
    repo = make_repo("stream", {"big": big, "small": "s"})
    with fetched(repo) as snapshot:
        entries = {entry.path: entry for entry in snapshot.entries(".")}
        with (
            snapshot.open(entries["big"]) as left,
            snapshot.open(entries["big"]) as whole,
        ):
            assert left.read(10) == big[:10]
            assert b"".join(iter(lambda: whole.read(70_000), b"")) == big
        with snapshot.open(entries["small"]) as stream:
            assert stream.read() == b"s"


def test_a_closed_snapshot_leaves_no_process(make_repo: Make) -> None:
    """Threat 23: git's object readers end with the snapshot."""
    with fetched(make_repo("closed", {"a": "b"})) as snapshot:
        list(snapshot.entries("."))
        snapshot.read("a", 10)
        assert children() == 2
    assert children() == 0


def children() -> int:
    """Processes this one started and that still live."""
    found = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "comm="],
        capture_output=True,
        text=True,
        check=False,
    )
    return sum(line.startswith("git") for line in found.stdout.splitlines())


def test_a_commit_that_was_not_fetched_is_unavailable(make_repo: Make) -> None:
    repo = make_repo("unfetched", {"a": "b"})
    with (
        pytest.raises(GitUnavailable, match="not in the local copy"),
        repository.open_snapshot(repo.url, repo.head),
    ):
        pass
    with (
        fetched(repo),
        pytest.raises(GitUnavailable),
        repository.open_snapshot(repo.url, "4" * 40) as snapshot,
    ):
        snapshot.read("a", 10)
