"""Looks at a repository's branch: its newest commit and the manifest in it.

The poll, a sync, *Test connection* and the preview all come through here, so what the
form shows is what the poll will see.
"""

from __future__ import annotations

from dataclasses import dataclass

from applications import manifest, repository
from applications.compose import SIZE_MAX
from applications.errors import GitError, ManifestError, Problem
from applications.manifest import Manifest
from applications.models import Application, Revision


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
    """The commit `branch` points to; raises GitError naming the branches there are."""
    if branch in branches:
        return branches[branch]
    known = ", ".join(sorted(branches)[:10]) or "none: the repository is empty"
    raise GitError(f'There is no branch "{branch}". Branches: {known}.', "git:branch")


def observe(url: str, branch: str, manifest_path: str, namespace: str) -> Observation:
    """Fetch the newest commit of `branch` and read its manifest.

    Raises GitError for what the user can fix (no manifest included), GitUnavailable
    for what may pass.
    """
    branches = repository.remote_heads(url)
    sha = head_of(branches, branch)
    repository.fetch(url, sha, branch)
    with repository.open_snapshot(url, sha) as snapshot:
        data = snapshot.read(manifest_path, SIZE_MAX)
        commit = snapshot.commit
    parsed, problems = None, []
    try:
        parsed = manifest.parse(
            data,
            filename=manifest_path,
            namespace=namespace,
            repo_url=url,
            branch=branch,
        )
    except ManifestError as error:
        problems = error.problems
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
