"""What happens by the clock."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django_q.models import Schedule


@dataclass(frozen=True)
class Entry:
    """A task of zerverless_site.tasks and how often it runs."""

    task: str
    minutes: int


SCHEDULE = (
    Entry("poll_due", 1),
    Entry("sweep", 1),
    Entry("clean_up", 60),
)


@transaction.atomic
def install() -> None:
    """Ensure the queue's schedules are exactly these, at every start."""
    for entry in SCHEDULE:
        Schedule.objects.update_or_create(
            name=entry.task,
            defaults={
                "func": f"zerverless_site.tasks.{entry.task}",
                "schedule_type": Schedule.MINUTES,
                "minutes": entry.minutes,
                "repeats": -1,
                "cluster": None,
            },
        )
    Schedule.objects.exclude(name__in=[entry.task for entry in SCHEDULE]).delete()
