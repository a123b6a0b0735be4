"""Entry points of the queue: load by primary key, call the pipeline, nothing else."""

from __future__ import annotations

from applications.models import Application
from applications.work import Cluster
from zerverless_site import pipeline, queue


def poll_due() -> None:
    """Have every repository polled that is due, each in a task of its own."""
    due = Application.objects.due().order_by("next_poll_at")
    first_of_each = {row.repo_url: row.pk for row in reversed(due)}
    for pk in first_of_each.values():
        queue.poll(pk)


def poll_repository(pk: int) -> None:
    pipeline.poll_repository(Application.objects.get(pk=pk))


def run_sync(pk: int) -> None:
    pipeline.reconcile(pk)


def run_builds() -> None:
    pipeline.run_builds()


def sweep() -> None:
    pipeline.sweep()


def heal() -> None:
    pipeline.heal()


def remove_orphans() -> None:
    pipeline.remove_orphans()


def clean_up() -> None:
    pipeline.clean_up()


def beat() -> None:
    Cluster.beat()
