"""Looks at a repository's branch: its newest commit and the manifest in it.

The poll, a sync, *Test connection* and the preview all come through here, so what the
form shows is what the poll will see.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from applications import manifest, repository
from applications.compose import SIZE_MAX
from applications.errors import GitAddressError, GitError, ManifestError, Problem
from applications.manifest import Manifest
from applications.models import Application, Revision
from applications.plain_text import clean

BRANCHES_MAX = 100
NAME_MAX = 100  # characters of a branch's name that are shown
_USUAL = ("main", "master")  # before the others, where nobody said which is the default


@dataclass(frozen=True)
class Observation:
    """A commit and its manifest, or the problems that keep it from being one."""

    sha: str
    commit: repository.Commit
    text: str
    manifest: Manifest | None
    problems: list[Problem]
    branches: dict[str, str]


def head_of(branches: dict[str, str], branch: str) -> str:
    """The commit `branch` points to; GitAddressError names the branches there are."""
    if branch in branches:
        return branches[branch]
    known = ", ".join(shown(branches)[:10]) or "none: the repository is empty"
    message = f'There is no branch "{branch}". Branches: {known}.'
    raise GitAddressError(message, "git:branch")


def shown(branches: Iterable[str], default: str | None = None) -> list[str]:
    """At most 100 names of branches, in a form to show; the default branch first."""
    first = [default] if default else [name for name in _USUAL if name in branches]
    rest = sorted(set(branches) - set(first))
    return [clean(name, NAME_MAX) for name in (*first, *rest)[:BRANCHES_MAX]]


def newest(url: str, branch: str) -> tuple[str, dict[str, str]]:
    """The newest commit of `branch`, and every branch there is."""
    branches = repository.remote_heads(url)
    return head_of(branches, branch), branches


def observe(url: str, branch: str, manifest_path: str, namespace: str) -> Observation:
    """Fetch the newest commit of `branch` and read its manifest.

    Raises GitError for what the user can fix, GitUnavailable for what may pass.
    """
    with repository.within(settings.ZERVERLESS_GIT_TIMEOUT):
        sha, branches = newest(url, branch)
        return read(url, branch, sha, manifest_path, namespace, branches)


def read(
    url: str,
    branch: str,
    sha: str,
    manifest_path: str,
    namespace: str,
    branches: dict[str, str],
) -> Observation:
    """Fetch a commit of `branch` and read its manifest; a missing one is a problem."""
    repository.fetch(url, sha, branch)
    parsed, problems, data = None, [], b""
    with repository.open_snapshot(url, sha) as snapshot:
        commit = snapshot.commit
        try:
            data = snapshot.read(manifest_path, SIZE_MAX)
            parsed = manifest.parse(
                data,
                filename=manifest_path,
                namespace=namespace,
                repo_url=url,
                branch=branch,
            )
        except ManifestError as error:
            problems = error.problems
        except GitError as error:
            problems = [Problem(manifest_path, 1, 1, "", error.message)]
    text = data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return Observation(sha, commit, text, parsed, problems, branches)


def record(application: Application, seen: Observation) -> Revision:
    """Ensure the observed commit is stored as a Revision of the application."""
    warnings = seen.manifest.warnings if seen.manifest else ()
    revision, _ = Revision.objects.update_or_create(
        application=application,
        sha=seen.sha,
        defaults={
            "author": seen.commit.author[:200],
            "subject": seen.commit.subject[:500],
            "committed_at": seen.commit.committed_at,
            "manifest": seen.text,
            "problems": [problem.as_dict() for problem in seen.problems],
            "warnings": [problem.as_dict() for problem in warnings],
        },
    )
    return revision
