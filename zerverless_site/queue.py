"""Tells the workers there may be something to do. A lost message loses nothing.

A task gets a primary key and nothing else, so neither the queue's table nor its
admin ever holds a URL or a token.
"""

from __future__ import annotations

from django.db import transaction
from django_q.tasks import async_task

from applications.models import Sync
from applications.work import State
from builds.models import Build

BUILDS = "builds"


def on_commit_sync(pk: int) -> None:
    """Hint a sync once the surrounding transaction is committed."""
    transaction.on_commit(lambda: _push("run_sync", pk))


def hint() -> None:
    """Offer everything queued to the workers again; claims make repeats harmless."""
    for pk in Sync.objects.filter(state=State.QUEUED).values_list("pk", flat=True):
        _push("run_sync", pk)
    if Build.objects.filter(state=State.QUEUED).exists():
        _push("run_builds", cluster=BUILDS)


def poll(pk: int) -> None:
    """Have one application's repository polled."""
    _push("poll_repository", pk)


def beat(cluster: str) -> None:
    """Ask a cluster to show that it works."""
    _push("beat", cluster=cluster)


def _push(task: str, *args: int, cluster: str | None = None) -> None:
    async_task(f"zerverless_site.tasks.{task}", *args, cluster=cluster, save=False)
