"""How a sync ended: its own state and that of every build it caused or waited for.

Derived here and stored nowhere, so no page can say "succeeded" over a failed build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Prefetch, Q, prefetch_related_objects
from django.utils import timezone

from applications.models import Sync, SyncQuerySet
from applications.work import FINAL_STATES, State
from builds.models import Build

# Whichever of these comes first decides, where builds ended in different ways.
_WORST_FIRST = (State.FAILED, State.ERRORED)
_SHOWN = (
    *("state", "started_at", "finished_at", "error_code", "function_id", "sync_id"),
    *("revision_id", "order"),
)


@dataclass(frozen=True)
class Outcome:
    """A sync and its builds as one piece of work, with what pages show of work."""

    pk: int
    state: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    builds: tuple[Build, ...]

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def duration(self) -> timedelta | None:
        """From the start of the sync to the end of the last build, or until now."""
        if self.started_at is None:
            return None
        return (self.finished_at or timezone.now()) - self.started_at

    @property
    def words(self) -> str:
        """What became of the builds where not all succeeded: `1 of 3 builds failed`."""
        ended = Counter(build.state for build in self.builds if build.is_final)
        unwell = [
            f"{ended[state]} {state}" for state in ended if state != State.SUCCEEDED
        ]
        if not unwell:
            return ""
        many = f"{len(self.builds)} build{'' if len(self.builds) == 1 else 's'}"
        return f"Of {many}: {', '.join(sorted(unwell))}."


def with_builds(syncs: SyncQuerySet) -> SyncQuerySet:
    """The syncs with what `of` needs, in two queries however many there are."""
    return syncs.prefetch_related(*_needed())


def load_builds(syncs: Sequence[Sync]) -> None:
    """The same for syncs from several queries, together."""
    prefetch_related_objects(syncs, *_needed())


def _needed() -> list[Prefetch[Any]]:
    few = Build.objects.only(*_SHOWN).order_by("pk")
    return [Prefetch("builds", queryset=few), Prefetch("awaited", queryset=few)]


def of(sync: Sync) -> Outcome:
    """What became of a sync."""
    rows = (*sync.builds.all(), *sync.awaited.all())
    state = _together(sync.state, [build.state for build in rows])
    ends = [row.finished_at for row in (sync, *rows) if row.finished_at is not None]
    is_final = state in FINAL_STATES and bool(ends)
    return Outcome(
        sync.pk,
        state,
        sync.queued_at,
        sync.started_at,
        max(ends) if is_final else None,
        rows,
    )


def unfinished() -> Q:
    """Syncs that wait or run, or of which a build does."""
    busy = Build.objects.active()
    return (
        Q(state__in=[State.QUEUED, State.RUNNING])
        | Q(pk__in=busy.filter(sync__isnull=False).values("sync"))
        | Q(pk__in=busy.filter(awaited_by__isnull=False).values("awaited_by"))
    )


def _together(own: str, builds: Iterable[str]) -> str:
    """The state of a sync whose builds are in these states."""
    found = set(builds) - {State.SUCCEEDED}
    if own != State.SUCCEEDED or not found:
        return own
    if found - FINAL_STATES:
        return State.RUNNING
    worst = [state for state in _WORST_FIRST if state in found]
    return worst[0] if worst else min(found)
