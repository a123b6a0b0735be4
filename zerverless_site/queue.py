"""Tells the workers there may be something to do. A lost message loses nothing.

A task gets a primary key and nothing else, so neither the queue's table nor its
admin ever holds a URL or a token.
"""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from django_q.models import Task
from django_q.tasks import async_task

from applications.work import State
from builds.models import Build

BUILDS = "builds"


def hint() -> None:
    """Offer queued builds to the workers again; claims make repeats harmless.

    The lane of Git work (git_lane.py) reads its tables itself.
    """
    if Build.objects.filter(state=State.QUEUED).exists():
        push("run_builds", cluster=BUILDS)


def beat(cluster: str) -> None:
    """Ask a cluster to show that it works."""
    push("beat", cluster=cluster)


def prune() -> None:
    """Forget failed tasks after a week; the queue itself keeps them for ever."""
    Task.objects.filter(stopped__lt=timezone.now() - timedelta(days=7)).delete()


def push(task: str, *args: int, cluster: str | None = None) -> None:
    """Queue `zerverless_site.tasks.<task>`; raises DatabaseError only."""
    async_task(f"zerverless_site.tasks.{task}", *args, cluster=cluster, save=False)
