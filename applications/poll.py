"""Asks Git whether a branch moved: one `ls-remote` for all who use the repository."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.utils import timezone

from applications import observe, repository
from applications.errors import (
    GitAddressError,
    GitError,
    GitUnavailable,
    UserError,
    ZerverlessError,
)
from applications.models import Application, SyncStatus

BACKOFF_MAX = 3600
log = logging.getLogger(__name__)
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


def settled(application: Application, sha: str) -> None:
    """Record that the commit was planned: what Git says is what is being deployed."""
    _remember(application, head_sha=sha, status=SyncStatus.SYNCED)


@contextmanager
def counting(application: Application) -> Iterator[None]:
    """Count a server that cannot be read from: the next poll moves further away."""
    try:
        yield
    except (GitAddressError, GitUnavailable) as error:
        _failed(application, error)
        raise


@contextmanager
def remembering(application: Application, sha: str) -> Iterator[None]:
    """Record a commit that its author has to change; polls do not try it again."""
    try:
        yield
    except GitAddressError:
        raise  # the server's, not the commit's
    except UserError as error:
        _remember(
            application,
            head_sha=sha,
            status=SyncStatus.OUT_OF_SYNC,
            head_error=error.message,
            head_error_code=error.code,
        )
        raise


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
    goes_on = moved and application.auto_deploy
    # Whoever lists branches may still not send commits: only a sync that succeeds
    # forgets earlier failures then.
    fields: dict[str, object] = {"checked_at": timezone.now()}
    if not goes_on:
        fields = _healthy()
    if moved:
        fields["status"] = SyncStatus.OUT_OF_SYNC
    Application.objects.filter(pk=application.pk).update(**fields)
    return goes_on


def _failed(application: Application, error: ZerverlessError) -> None:
    failures = application.poll_failures + 1
    log.info("%s: %s", application, " | ".join(error.message.splitlines()))
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


def _remember(application: Application, **fields: object) -> None:
    unless_said = {"head_error": "", "head_error_code": ""}
    Application.objects.filter(pk=application.pk).update(
        **{**_healthy(), **unless_said, **fields}
    )


def _healthy() -> dict[str, object]:
    return {
        "checked_at": timezone.now(),
        "poll_failures": 0,
        "poll_error_code": "",
        "poll_error": "",
    }
