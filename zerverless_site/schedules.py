"""What happens by the clock, and the clock: it lives in the workers' supervisor.

The queue's own scheduler wakes twice a minute, lives inside the cluster it would have
to revive, and catches up after a pause with a storm. This one only pushes hints, and
never on top of a queue that is not being emptied.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from django.db import DatabaseError
from django_q.models import OrmQ

from zerverless_site import queue

BACKLOG_MAX = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A task of zerverless_site.tasks and how many seconds lie between its runs."""

    task: str
    seconds: float


SCHEDULE = (
    Entry("sweep", 10),
    Entry("heal", 60),
    Entry("remove_orphans", 10),
    Entry("clean_up", 3600),
)


class Clock:
    """Pushes each entry's task when it is due; the first time at once."""

    def __init__(self, entries: tuple[Entry, ...] = SCHEDULE) -> None:
        self._next = dict.fromkeys(entries, 0.0)

    def tick(self) -> None:
        now = time.monotonic()
        for entry, due in self._next.items():
            if now >= due:
                self._next[entry] = now + entry.seconds
                _push(entry)


def _push(entry: Entry) -> None:
    try:
        if OrmQ.objects.count() < BACKLOG_MAX:
            queue.push(entry.task)
    except DatabaseError:
        log.warning("cannot queue %s; next time", entry.task, exc_info=True)
