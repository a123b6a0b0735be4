"""Tests a connection with the very code the poll uses, and says what it found."""

from __future__ import annotations

from dataclasses import dataclass, field

from applications import observe, repository
from applications.errors import GitError, GitUnavailable, Problem, ZerverlessError
from applications.manifest import Manifest


@dataclass(frozen=True)
class Connection:
    """The outcome of one test; `error` is empty when the commit could be read."""

    error: str = ""
    code: str = ""
    branches: list[str] = field(default_factory=list)
    seen: observe.Observation | None = None
    may_pass: bool = False

    @property
    def manifest(self) -> Manifest | None:
        return self.seen.manifest if self.seen else None

    @property
    def problems(self) -> list[Problem]:
        return self.seen.problems if self.seen else []

    @property
    def is_good(self) -> bool:
        return self.manifest is not None


def test(url: str, branch: str, manifest_path: str, namespace: str) -> Connection:
    """Look at the repository as the poll would; never raises for what Git says."""
    try:
        seen = observe.observe(url, branch, manifest_path, namespace)
    except (GitError, GitUnavailable) as error:
        return Connection(
            error.message,
            error.code,
            _branches(url, error),
            may_pass=isinstance(error, GitUnavailable),
        )
    return Connection(branches=sorted(seen.branches), seen=seen)


def _branches(url: str, error: ZerverlessError) -> list[str]:
    """What there is to choose from, where only the branch was wrong."""
    if error.code != "git:branch":
        return []
    try:
        return sorted(repository.remote_heads(url))
    except (GitError, GitUnavailable):
        return []
