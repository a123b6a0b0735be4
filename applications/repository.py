"""Git, without ever checking anything out: remote branches, fetched commits, files.

Every repository has one bare cache under the data directory, shared by all who use
its URL. Commits are read from its object database, so nothing in a repository (hook,
filter, link, submodule) ever touches a file system. See docs/decisions/0002.
"""

from __future__ import annotations

import configparser
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import Any, BinaryIO, Self

import git
from git.objects.fun import tree_entries_from_data

from applications import git_cache, git_process, names
from applications.errors import GitAddressError, GitError, GitUnavailable
from applications.git_process import within
from applications.git_remote import Remote, default_branch, look, remote_heads
from applications.git_url import check_url
from applications.plain_text import clean

__all__ = [
    "Commit",
    "Entry",
    "Remote",
    "Snapshot",
    "check_url",
    "default_branch",
    "drop",
    "fetch",
    "forget",
    "keep_only",
    "look",
    "open_snapshot",
    "remote_heads",
    "within",
]

TREE_MAX = 32 * 2**20  # bytes of one directory: about 500,000 names
TREES_MAX = 50_000  # directories below one: a small pack can hold billions, all empty
LISTING_MAX = 32 * 2**20  # bytes of a directory's listing: 300,000 usual names
PATH_MAX = 4096  # bytes: PATH_MAX of Linux, nothing longer can be unpacked
LINK_MAX = 4096  # bytes of a link's target, by the same limit
BUFFERED_MAX = 2**20  # bytes of a file that is read at once
COMMIT_MAX = 2**20  # bytes of one commit with its message and signature
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Commit:
    """Who committed what and when; texts are safe to store and show."""

    sha: str
    author: str
    subject: str
    committed_at: datetime


@dataclass(frozen=True)
class Entry:
    """One file below a directory. `path` is relative to it, and holds bytes that are
    not UTF-8 as surrogates (`os.fsencode` gives the bytes); `size` is in bytes."""

    path: str
    kind: str  # "file", "link" or "submodule"
    executable: bool
    size: int
    blob: str


def fetch(url: str, sha: str, branch: str) -> None:
    """Ensure the commit `sha` of `branch` is in the cache; no network when it is.

    Raises GitError for what the user can fix, GitUnavailable for what may pass.
    """
    check_url(url)
    _check_commit(sha)
    if names.branch_problem(branch):
        problem = f'"{clean(branch, 60)}" is not a branch name.'
        raise GitAddressError(problem, "git:branch")
    with suppress(_Unreadable):
        if _is_cached(url, sha):
            return
    with git_cache.locked(url) as cache:
        try:
            if _is_cached(url, sha):  # somebody else fetched it while we waited
                return
        except _Unreadable:
            cache.remove_if_damaged()
        cache.fetch(sha, branch)


def forget(url: str, keep: set[str]) -> None:
    """Free the cached commits of a repository that are not in `keep`.

    Not while somebody fetches: the next cleanup does.
    """
    with suppress(git_cache.Busy), git_cache.locked(url, git_cache.AT_ONCE) as cache:
        cache.forget(keep)


def drop(url: str) -> None:
    """Remove the cache of a repository nobody uses any more, or let cleanup do it."""
    with suppress(git_cache.Busy), git_cache.locked(url, git_cache.AT_ONCE) as cache:
        cache.remove()


def keep_only(urls: set[str]) -> None:
    """Remove the caches of all other repositories, once they are an hour old."""
    git_cache.remove_unused(urls)


@contextmanager
def open_snapshot(url: str, sha: str) -> Iterator[Snapshot]:
    """The files of a fetched commit; GitUnavailable when it is not in the cache.

    A cache found damaged is removed, so that the next `fetch` makes it anew.
    """
    _check_commit(sha)
    try:
        with Snapshot(url, sha) as snapshot:
            yield snapshot
    except _Unreadable:
        with git_cache.locked(url) as cache:
            cache.remove_if_damaged()
        raise


def _is_cached(url: str, sha: str) -> bool:
    try:
        with Snapshot(url, sha) as snapshot:
            snapshot.tree_id(".")
    except _Unreadable:
        raise
    except GitUnavailable:
        return False
    return True


def _check_commit(sha: str) -> None:
    if not _SHA.fullmatch(sha):
        raise GitError("A commit is named by 40 hexadecimal digits.", "git:commit")


class _Unreadable(GitUnavailable):
    """An object that should be in the cache cannot be read from it."""

    code = "git:cache"


class Snapshot:
    """The files of one commit, read from the cache. For one thread at a time."""

    def __init__(self, url: str, sha: str) -> None:
        try:
            self._repo = git.Repo(git_cache.path_of(url), expand_vars=False)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise _missing(sha) from error
        except (configparser.Error, ValueError, OSError) as error:
            raise _Unreadable("The local copy of the repository is damaged.") from error
        self._repo.git.update_environment(
            **git_process.environment(GIT_DIR=str(self._repo.git_dir))
        )
        self._sha = sha
        self._checked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Ends the two `cat-file` processes that answer the reads.
        self._repo.close()

    @cached_property
    def commit(self) -> Commit:
        raw = git.Commit(self._repo, bytes.fromhex(self._sha))
        self._check_commit()
        try:
            author, message = raw.author, raw.message
            when = datetime.fromtimestamp(raw.committed_date, UTC)
        except (ValueError, LookupError, OverflowError, OSError) as error:
            # A made-up encoding or date; the server accepted it, we need not.
            raise GitError(
                f"Commit {self._sha[:12]} is malformed.", "git:damaged"
            ) from error
        subject = str(message).strip().partition("\n")[0]
        name = author.name or author.email or ""
        return Commit(self._sha, clean(name, 200), clean(subject, 500), when)

    def read(self, path: str, limit: int) -> bytes:
        """The content of a regular file of at most `limit` bytes; GitError if not."""
        blob = self._find(path, "file")
        return self._content(blob, path, limit)

    def tree_id(self, path: str) -> str:
        """The object id of a directory (`.` is the root): equal ids, equal files."""
        return self._find(path, "directory").hex()

    def blob_id(self, path: str) -> str:
        """The object id of a regular file: equal ids, equal content."""
        return self._find(path, "file").hex()

    def entries(self, path: str) -> Iterator[Entry]:
        """Every file, link and submodule below a directory, in Git's own order.

        One `git ls-tree` tells all of them with their sizes. Raises GitError when there
        are more directories or names than anybody's source has.
        """
        directories = 0
        for record in _records(self._listing(path)):
            mode, kind, blob, size, name = record
            if len(name) > PATH_MAX:
                raise GitError(f'"{clean(path, 200)}" is nested too deep.', _PATH)
            if kind == b"tree":
                directories += 1
                if directories > TREES_MAX:
                    raise _too_many(path, f"{TREES_MAX:,} directories")
                continue
            yield Entry(
                name.decode("utf-8", "surrogateescape"),
                _kind(int(mode, 8)),
                bool(int(mode, 8) & 0o100),
                _number(size, blob),
                blob.decode(),
            )

    def _listing(self, path: str) -> bytes:
        """What `git ls-tree` says of everything below a directory."""
        tree = self._find(path, "directory").hex()
        command = (f"--git-dir={self._repo.git_dir}", "ls-tree", "-rtlz", tree)
        told = git_process.run(command, output_max=LISTING_MAX)
        if told.overflowed:
            raise _too_many(path, f"{LISTING_MAX >> 20} MiB of names")
        if told.timed_out:
            raise GitUnavailable(f'"{clean(path, 200)}" takes too long to list.')
        if not told.succeeded:
            raise _unreadable(bytes.fromhex(tree))
        return told.output

    def open(self, entry: Entry) -> BinaryIO:
        """The content of a file entry, to be closed; large ones are streamed."""
        if entry.size <= BUFFERED_MAX:
            blob = bytes.fromhex(entry.blob)
            return io.BytesIO(self._content(blob, entry.path, entry.size))
        process = self._repo.git.cat_file("blob", entry.blob, as_process=True)
        return io.BufferedReader(_Pipe(process, entry.size), 64 * 1024)

    def link_target(self, entry: Entry) -> bytes:
        """Where a link entry points, as it is in the commit: unchecked."""
        return self._content(bytes.fromhex(entry.blob), entry.path, LINK_MAX)

    def _find(self, path: str, kind: str) -> bytes:
        """The object `path` names when every hop is a directory and it is a `kind`."""
        found, found_kind = self._root(), "directory"
        names_left = [name for name in path.split("/") if name not in ("", ".")]
        for done, name in enumerate(names_left):
            hop = "/".join(names_left[:done])
            if found_kind != "directory":
                raise _wrong(path, hop, found_kind, "directory")
            by_name = {n: (b, _kind(m)) for b, m, n in self._tree(found, hop or ".")}
            if name not in by_name:
                raise GitError(f'There is no "{clean(path, 200)}".', _PATH)
            found, found_kind = by_name[name]
        if found_kind != kind:
            raise _wrong(path, path, found_kind, kind)
        return found

    def _root(self) -> bytes:
        self._check_commit()
        return git.Commit(self._repo, bytes.fromhex(self._sha)).tree.binsha

    def _check_commit(self) -> None:
        """Before GitPython parses it: that it is there, a commit, and not huge."""
        if self._checked:
            return
        try:
            info = self._repo.odb.info(bytes.fromhex(self._sha))
        except _BROKEN as error:
            raise _missing(self._sha) from error
        if info.type != b"commit" or info.size > COMMIT_MAX:
            raise GitError(f"{self._sha[:12]} is not a usable commit.", "git:damaged")
        self._checked = True

    def _tree(self, tree: bytes, path: str) -> list[tuple[bytes, int, str]]:
        data = self._content(tree, path, TREE_MAX)
        try:
            return tree_entries_from_data(data)
        except ValueError as error:
            message = f'"{clean(path, 200)}" holds a name Git does not allow.'
            raise GitError(message, _PATH) from error

    def _size(self, binsha: bytes) -> int:
        try:
            return int(self._repo.odb.info(binsha).size)
        except _BROKEN as error:
            raise _unreadable(binsha) from error

    def _content(self, binsha: bytes, path: str, limit: int) -> bytes:
        size = self._size(binsha)
        if size > limit:
            message = f'"{clean(path, 200)}" is larger than {limit} bytes.'
            raise GitError(message, _PATH)
        try:
            data = bytes(self._repo.odb.stream(binsha).read())
        except _BROKEN as error:
            raise _unreadable(binsha) from error
        if len(data) != size:  # how a damaged object shows when git finds it midway
            raise _unreadable(binsha)
        return data


class _Pipe(io.RawIOBase):
    """The content of a large object, from a `cat-file` of its own."""

    def __init__(self, process: Any, size: int) -> None:
        self._process, self._left = process, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data: bytes = self._process.stdout.read(min(len(buffer), self._left))
        if self._left and not data:
            raise _Unreadable("The local copy of the repository is damaged.")
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._process.kill()
            self._process.stdout.close()
            self._process.stderr.close()
            self._process.proc.wait()
        super().close()


_PATH = "git:path"
_BROKEN = (ValueError, git.exc.ODBError, git.GitCommandError, OSError)
_KINDS = {4: "directory", 8: "file", 10: "link", 14: "submodule"}


def _records(listing: bytes) -> Iterator[tuple[bytes, bytes, bytes, bytes, bytes]]:
    """Mode, type, id, size and name of each line of `git ls-tree -lz`."""
    start = 0
    while (end := listing.find(b"\0", start)) >= 0:
        head, _, name = listing[start:end].partition(b"\t")
        mode, kind, blob, size = head.split()
        yield mode, kind, blob, size, name
        start = end + 1


def _number(size: bytes, blob: bytes) -> int:
    """A size in bytes; a submodule has none, and an object that is missing is BAD."""
    if size == b"-":
        return 0
    if not size.isdigit():
        raise _unreadable(bytes.fromhex(blob.decode()))
    return int(size)


def _too_many(path: str, what: str) -> GitError:
    return GitError(f'"{clean(path, 200)}" holds more than {what}.', _PATH)


def _kind(mode: int) -> str:
    return _KINDS[mode >> 12]


def _wrong(path: str, hop: str, found: str, wanted: str) -> GitError:
    named = f'"{clean(path, 200)}"'
    place = named if hop == path else f'{named}: "{clean(hop, 200)}"'
    follow = ", and links are not followed" if found == "link" else ""
    return GitError(f"{place} is a {found}, not a {wanted}{follow}.", _PATH)


def _missing(sha: str) -> GitUnavailable:
    return GitUnavailable(f"Commit {sha[:12]} is not in the local copy.", "git:cache")


def _unreadable(binsha: bytes) -> _Unreadable:
    return _Unreadable(
        f"Object {binsha.hex()[:12]} cannot be read from the local copy of the "
        "repository, which is made anew."
    )
