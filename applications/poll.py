"""Asks Git whether a branch moved: one `ls-remote` for all who use the repository."""

from __future__ import annotations

import random
from datetime import timedelta

from django.utils import timezone

from applications import observe, repository
from applications.errors import GitError, GitUnavailable, ZerverlessError
from applications.models import Application, Revision, SyncStatus

BACKOFF_MAX = 3600
JITTER = 0.1  # so that repositories added together do not stay polled together


def look(application: Application) -> list[Application]:
    """Poll the repository for all due applications; those whose branch has moved.

    A failure is written on each application and the next poll moves further away,
    up to an hour.
    """
    due = [row for row in _sharing(application) if _claim(row)]
    if not due:
        return []
    try:
        branches = repository.remote_heads(application.repo_url)
    except (GitError, GitUnavailable) as error:
        for row in due:
            _failed(row, error)
        return []
    return [row for row in due if _has_moved(row, branches)]


def settled(application: Application, revision: Revision) -> None:
    """Record that the commit was planned: what Git says is what is being deployed."""
    _remember(application, revision, SyncStatus.SYNCED)


def refused(application: Application, revision: Revision) -> None:
    """Record that the commit cannot be used; the same commit is not tried again."""
    _remember(application, revision, SyncStatus.OUT_OF_SYNC)


def _sharing(application: Application) -> list[Application]:
    return list(Application.objects.due().filter(repo_url=application.repo_url))


def _claim(application: Application) -> bool:
    """Move the next poll away before polling: of two pollers only one gets the row."""
    spread = 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 - not for secrets
    later = timezone.now() + timedelta(seconds=application.interval * spread)
    return bool(
        Application.objects.due().filter(pk=application.pk).update(next_poll_at=later)
    )


def _has_moved(application: Application, branches: dict[str, str]) -> bool:
    try:
        head = observe.head_of(branches, application.branch)
    except GitError as error:
        _failed(application, error)
        return False
    moved = head != application.head_sha
    fields = {"status": SyncStatus.OUT_OF_SYNC} if moved else {}
    Application.objects.filter(pk=application.pk).update(**_healthy(), **fields)
    return moved and application.auto_deploy


def _failed(application: Application, error: ZerverlessError) -> None:
    failures = application.poll_failures + 1
    wait = min(application.interval * 2 ** min(failures, 10), BACKOFF_MAX)
    Application.objects.filter(pk=application.pk).update(
        status=SyncStatus.UNKNOWN,
        checked_at=timezone.now(),
        next_poll_at=timezone.now()
        + timedelta(seconds=max(wait, application.interval)),
        poll_failures=failures,
        poll_error_code=error.code,
        poll_error=error.message,
    )


def _remember(application: Application, revision: Revision, status: SyncStatus) -> None:
    Application.objects.filter(pk=application.pk).update(
        head_sha=revision.sha, status=status, **_healthy()
    )


def _healthy() -> dict[str, object]:
    return {
        "checked_at": timezone.now(),
        "poll_failures": 0,
        "poll_error_code": "",
        "poll_error": "",
    }
