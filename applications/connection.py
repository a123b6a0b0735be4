"""Tests a connection with the very code the poll uses, and says what it found.

Git runs in the lane of Git work, never in the process that serves pages: `ask` leaves a
row there, which the page follows.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction

from applications import observe, repository
from applications.connection_test import ConnectionTest
from applications.errors import GitError, GitUnavailable
from applications.forms import AddForm, EditForm
from applications.models import Application
from applications.work import State, attempt


@dataclass(frozen=True)
class Connection:
    """What one test found, as a page shows it; `error` is empty when a commit could be
    read, `unsaved` says why a good one could not be saved."""

    error: str = ""
    code: str = ""
    may_pass: bool = False
    branches: list[str] = field(default_factory=list)
    sha: str = ""
    author: str = ""
    subject: str = ""
    committed: str = ""
    text: str = ""
    problems: list[dict[str, object]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    functions: list[dict[str, Any]] = field(default_factory=list)
    is_good: bool = False
    unsaved: str = ""

    @property
    def committed_at(self) -> datetime:
        return datetime.fromisoformat(self.committed)


def test(url: str, branch: str, manifest_path: str, namespace: str) -> Connection:
    """Look at the repository as the poll would; never raises for what Git says."""
    with repository.within(settings.ZERVERLESS_GIT_TIMEOUT):
        try:
            seen = observe.observe(url, branch, manifest_path, namespace)
        except (GitError, GitUnavailable) as error:
            may_pass = isinstance(error, GitUnavailable)
            branches = _branches(url) if error.code == "git:branch" else []
            return Connection(error.message, error.code, may_pass, branches)
        return _found(seen, _branches(url, seen.branches))


def ask(form: EditForm, user: str, *, saves: bool) -> ConnectionTest:
    """Have what a valid form says tested, and saved if it is good and `saves`.

    Whoever asks again before the last test began replaces it.
    """
    ConnectionTest.objects.superseded(user).delete()
    return ConnectionTest.objects.create(
        asked_by=user,
        form={name: form.data.get(name, "") for name in form.fields},
        saves=saves,
        edited=form.instance if form.instance.pk else None,
    )


def sweep() -> None:
    """Give tests of killed workers to others, and forget those of an hour ago."""
    ConnectionTest.objects.reap()
    ConnectionTest.objects.old().delete()


def run(pk: int) -> ConnectionTest | None:
    """Do a test that was asked for; the row, with what was saved after it."""
    token = ConnectionTest.objects.claim(pk)
    if token is None:
        return None
    rows = ConnectionTest.objects.select_related("edited")
    row: ConnectionTest = rows.get(pk=pk)
    with attempt(ConnectionTest.objects.all(), row, token) as lease:
        said = row.form
        found = test(
            said["repo_url"], said["branch"], said["manifest_path"], row.namespace
        )
        result = asdict(found)
        with transaction.atomic():
            if row.saves and found.is_good:
                row.saved, result["unsaved"] = _save(row)
            if not lease.finish(State.SUCCEEDED, result=result, saved=row.saved):
                transaction.set_rollback(True)  # another does it over
                row.saved = None
    return row


def found(row: ConnectionTest) -> Connection | None:
    """What a test found; None while it has not ended."""
    if not row.is_final:
        return None
    if row.state != State.SUCCEEDED:
        return Connection(row.error, row.error_code, may_pass=True)
    return Connection(**row.result)


def _save(row: ConnectionTest) -> tuple[Application | None, str]:
    """Save what the form said; or the reason why that is not possible any more."""
    form = EditForm(row.form, instance=row.edited) if row.edited else AddForm(row.form)
    if form.is_valid():
        return form.save(), ""
    return None, " ".join(str(text) for texts in form.errors.values() for text in texts)


def _found(seen: observe.Observation, branches: list[str]) -> Connection:
    manifest = seen.manifest
    shown = ("path", "runtime", "port", "dockerfile", "memory", "timeout")
    return Connection(
        branches=branches,
        sha=seen.sha,
        author=seen.commit.author,
        subject=seen.commit.subject,
        committed=seen.commit.committed_at.isoformat(),
        text=seen.text if seen.problems else "",
        problems=[problem.as_dict() for problem in seen.problems],
        warnings=[str(warning) for warning in manifest.warnings] if manifest else [],
        functions=[
            {name: getattr(spec, name) for name in shown}
            for spec in (manifest.functions if manifest else ())
        ],
        is_good=manifest is not None,
    )


def _branches(url: str, known: dict[str, str] | None = None) -> list[str]:
    """What there is to choose from, the default branch first."""
    with suppress(GitError, GitUnavailable):
        heads = repository.remote_heads(url) if known is None else known
        return observe.shown(heads, repository.default_branch(url))
    return []
