"""Tells the workers there may be something to do. A lost message loses nothing.

A task gets a primary key and nothing else, so neither the queue's table nor its
admin ever holds a URL or a token.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.utils import timezone
from django_q.models import Task
from django_q.tasks import async_task

from applications.models import Sync
from applications.work import State
from builds.models import Build

BUILDS = "builds"


def on_commit_sync(pk: int) -> None:
    """Hint a sync once the surrounding transaction is committed."""
    transaction.on_commit(lambda: push("run_sync", pk))


def hint() -> None:
    """Offer everything queued to the workers again; claims make repeats harmless."""
    for pk in Sync.objects.filter(state=State.QUEUED).values_list("pk", flat=True):
        push("run_sync", pk)
    if Build.objects.filter(state=State.QUEUED).exists():
        push("run_builds", cluster=BUILDS)


def poll(pk: int) -> None:
    """Have one application's repository polled."""
    push("poll_repository", pk)


def beat(cluster: str) -> None:
    """Ask a cluster to show that it works."""
    push("beat", cluster=cluster)


def prune() -> None:
    """Forget failed tasks after a week; the queue itself keeps them for ever."""
    Task.objects.filter(stopped__lt=timezone.now() - timedelta(days=7)).delete()


def push(task: str, *args: int, cluster: str | None = None) -> None:
    """Queue `zerverless_site.tasks.<task>`; raises DatabaseError only."""
    async_task(f"zerverless_site.tasks.{task}", *args, cluster=cluster, save=False)
