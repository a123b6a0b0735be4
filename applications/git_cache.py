"""One bare repository per URL under the data directory: fetching into it, freeing it.

Only its lock's holder writes to it. Readers need no lock: git adds a pack before the
reference that needs it, and never changes a pack.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from applications import git_process
from applications.errors import GitUnavailable
from applications.git_errors import UnexplainedFailure, failure

log = logging.getLogger(__name__)

DEEPER = 50  # commits looked through where a server refuses to send one by its name
KEPT = "refs/zerverless/"
UNUSED_SECONDS = 3600
AT_ONCE = 0.1  # cleanup waits for nobody's server: it comes again


def path_of(url: str) -> Path:
    """Where the cache of a repository is, or would be."""
    digest = hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()
    return Path(settings.DATA_DIR) / "git" / f"{digest}.git"


@contextmanager
def locked(url: str, patience: float | None = None) -> Iterator[Cache]:
    """The cache of a repository, for the one who may write to it now.

    Raises Busy when that is somebody else for `patience` seconds, by default a Git
    command's time.
    """
    with _lock_of(path_of(url), patience) as lock:
        yield Cache(url, lock)


def remove_unused(urls: set[str]) -> None:
    """Remove the caches of all but `urls`, once they are an hour old.

    *Test connection* fetches what never becomes an application.
    """
    used = {path_of(url) for url in urls}
    for path in (Path(settings.DATA_DIR) / "git").glob("*.git"):
        if path not in used and time.time() - path.stat().st_mtime > UNUSED_SECONDS:
            with suppress(Busy), _lock_of(path, AT_ONCE):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a folder, follow no link; what cannot go stays, and is reported."""
    shutil.rmtree(path, ignore_errors=True)
    if path.is_dir():
        log.warning("%s cannot be removed: see its owner and mode", path)


@contextmanager
def _lock_of(path: Path, patience: float | None = None) -> Iterator[int]:
    """Hold the lock of a cache; its descriptor, for git to inherit.

    A git process that outlives its killed parent for a moment keeps the lock, because
    the lock belongs to the open file and not to a process. The lock file stays when
    the cache goes: two processes could else hold "the" lock of two files.
    """
    lock = path.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait_for(descriptor, patience)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, patience: float | None) -> None:
    ends = git_process.deadline(patience)
    while time.monotonic() < ends:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return
    raise Busy("Another process is fetching this repository.")


class Busy(GitUnavailable):
    """Somebody else writes to the cache, for as long as their server lets them."""

    code = "git:busy"


class Cache:
    """One bare repository on disk; used only while its lock is held."""

    def __init__(self, url: str, lock: int) -> None:
        self.url, self.lock, self.path = url, lock, path_of(url)

    def fetch(self, sha: str, branch: str) -> None:
        """Fetch the commit; a damaged cache is made anew, once."""
        existed = self._ensure()
        try:
            self._fetch(sha, branch)
        except UnexplainedFailure:
            if not existed or self._is_sound():
                raise
            self.remove()
            self._ensure()
            self._fetch(sha, branch)
        finally:
            self._sweep()

    def forget(self, keep: set[str]) -> None:
        """Drop the references of all other commits, then what they alone held."""
        if not self.path.exists():
            return
        listed = self._git("for-each-ref", "--format=%(refname)", KEPT)
        old = [
            name
            for name in listed.output.decode().split()
            if name.removeprefix(KEPT) not in keep
        ]
        for name in old:
            self._git("update-ref", "-d", name)
        if old and not self._git("gc", "--quiet", "--prune=now").succeeded:
            log.warning("%s could not be compacted; it stays larger", self.path.name)

    def remove(self) -> None:
        for path in (self.path, self._half_made):
            _remove(path)

    def remove_if_damaged(self) -> None:
        if self.path.exists() and not self._is_sound():
            self.remove()

    @property
    def _half_made(self) -> Path:
        return self.path.with_suffix(".new")

    def _ensure(self) -> bool:
        """Ensure there is a repository; whether there was one. Renamed into place,
        so that half of one is never taken for a whole one."""
        if (self.path / "HEAD").is_file():
            self._sweep()
            return True
        self.remove()
        self._must("init", "--quiet", "--bare", "--template=", str(self._half_made))
        self._half_made.rename(self.path)
        return False

    def _sweep(self) -> None:
        """Remove what a killed git left: we hold the lock, so nobody is using it."""
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for stale in self.path.glob(pattern):
                stale.unlink(missing_ok=True)

    def _fetch(self, sha: str, branch: str) -> None:
        command = self._fetching(1, f"+{sha}:{KEPT}{sha}")
        outcome = self._run(command, self.url)
        if outcome.succeeded:
            return
        if "not our ref" in outcome.errors or "unadvertised" in outcome.errors:
            self._fetch_around(sha, branch)
            return
        raise failure(command, outcome)

    def _fetch_around(self, sha: str, branch: str) -> None:
        """The branch has moved on: where the server refuses commits by name, look
        for it among the branch's latest."""
        command = self._fetching(DEEPER, f"+refs/heads/{branch}:{KEPT}branch")
        outcome = self._run(command, self.url)
        if not outcome.succeeded:
            raise failure(command, outcome)
        kept = self._git("update-ref", f"{KEPT}{sha}", sha)
        self._git("update-ref", "-d", f"{KEPT}branch")
        if not kept.succeeded:
            raise GitUnavailable(
                f"Commit {sha[:12]} is gone from the server: the branch was rewritten "
                "meanwhile.",
                "git:moved",
            )

    def _fetching(self, depth: int, refspec: str) -> list[str]:
        return [
            f"--git-dir={self.path}",
            "fetch",
            "--quiet",
            f"--depth={depth}",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--",
            self.url,
            refspec,
        ]

    def _is_sound(self) -> bool:
        return self._git("fsck", "--no-dangling", "--no-progress").succeeded

    def _git(self, *arguments: str) -> git_process.Outcome:
        return self._run([f"--git-dir={self.path}", *arguments])

    def _must(self, *arguments: str) -> None:
        outcome = self._run(list(arguments))
        if not outcome.succeeded:
            raise failure(arguments, outcome)

    def _run(self, command: list[str], url: str | None = None) -> git_process.Outcome:
        return git_process.run(command, url=url, keep_open=[self.lock])
