"""What the database says about the whole installation, for the metrics."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max, Min, OuterRef, QuerySet, Subquery
from django.utils import timezone

from applications.models import Application, Sync, SyncStatus
from applications.work import FINAL_STATES, Cluster, State, Work
from builds.models import Build
from runtime.models import Instance, InstanceState

BUILD_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0)
APPLICATIONS_MAX = 1000
# A build may be committed this much later than it says it ended.
_LATE = timedelta(minutes=1)

Queues = dict[str, tuple[int, float]]


@dataclass(frozen=True)
class Figures:
    """All of them at one moment. Seconds and bytes."""

    queues: Queues  # by kind of work: how much waits, and the longest for how long
    heartbeats: dict[str, float]  # by cluster of workers: since the last
    instances: dict[str, int]  # by state
    synced_at: dict[tuple[str, str], float]  # by namespace and application: Unix time
    disk_free: int


def read() -> Figures:
    """Ask the database, in six short queries; raises DatabaseError."""
    now = timezone.now()
    return Figures(
        queues={
            "build": _queue(Build.objects.all(), now),
            "sync": _queue(Sync.objects.all(), now),
        },
        heartbeats=_heartbeats(now),
        instances=_instances(),
        synced_at=dict(_synced_at()),
        disk_free=shutil.disk_usage(settings.DATA_DIR).free,
    )


def _queue(rows: QuerySet[Work], now: datetime) -> tuple[int, float]:
    waiting = rows.filter(state=State.QUEUED)
    found = waiting.aggregate(depth=Count("pk"), since=Min("queued_at"))
    since = found["since"] or now
    return found["depth"], max((now - since).total_seconds(), 0.0)


def _heartbeats(now: datetime) -> dict[str, float]:
    beats = Cluster.objects.values_list("name", "beat_at")
    return {
        name: (now - beat).total_seconds() if beat else float("inf")
        for name, beat in beats
    }


def _instances() -> dict[str, int]:
    rows = Instance.objects.present().order_by().values_list("state")
    found = dict(rows.annotate(Count("pk")))
    return {state: found.get(state, 0) for state in InstanceState.values}


def _synced_at() -> Iterable[tuple[tuple[str, str], float]]:
    """When each application was last known to be what Git says: its last good sync, or
    the last look at Git that found nothing new. 0: never."""
    good = Sync.objects.filter(application=OuterRef("pk"), state=State.SUCCEEDED)
    ended = good.order_by().values("application").annotate(at=Max("finished_at"))
    rows = Application.objects.present().annotate(ended=Subquery(ended.values("at")))
    fields = ("namespace", "name", "status", "poll_error", "checked_at", "ended")
    for namespace, name, status, error, checked, synced in rows.values_list(*fields)[
        :APPLICATIONS_MAX
    ]:
        is_current = status == SyncStatus.SYNCED and not error
        at = checked if is_current and checked else synced
        yield (namespace, name), at.timestamp() if at else 0.0


class Builds:
    """Counts builds that have ended, each once; what was counted is not read again."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        self.durations = [0] * (len(BUILD_BOUNDS) + 1)
        self.seconds = 0.0
        self._lately: set[tuple[int, datetime]] = set()
        self._until: datetime | None = None

    def look(self) -> None:
        """Count what has ended since the last look; raises DatabaseError."""
        ended = Build.objects.filter(state__in=FINAL_STATES, finished_at__isnull=False)
        if self._until is not None:
            ended = ended.filter(finished_at__gt=self._until - _LATE)
        rows = ended.order_by("finished_at").values_list(
            "pk", "finished_at", "started_at", "state", "reused_from"
        )
        for pk, finished, started, state, reused_from in rows.iterator():
            if (pk, finished) in self._lately:
                continue
            self._lately.add((pk, finished))
            self._until = finished
            self.results[state] += 1
            if started is not None and reused_from is None:
                self._time((finished - started).total_seconds())
        oldest = (self._until or timezone.now()) - _LATE
        self._lately = {one for one in self._lately if one[1] > oldest}

    def _time(self, seconds: float) -> None:
        self.durations[sum(bound < seconds for bound in BUILD_BOUNDS)] += 1
        self.seconds += seconds
