"""Everything that was done lately, across applications: syncs and builds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from applications.models import Sync, SyncQuerySet
from applications.work import State, Work
from builds.models import Build, BuildQuerySet


@dataclass(frozen=True)
class Entry:
    """One line of the activity list."""

    what: str
    about: str
    work: Work
    url: str
    note: str
    by: str

    @property
    def at(self) -> datetime:
        return self.work.finished_at or self.work.started_at or self.work.queued_at

    @property
    def fact(self) -> tuple[str, object, str]:
        """What decides whether the line looks different now."""
        return (self.what, self.work.pk, self.work.state)


def active() -> list[Entry]:
    """What runs or waits: running first, then in the order it will run."""
    entries = [_sync(row) for row in _syncs().active()]
    entries += [_build(row) for row in _builds().active()]
    return sorted(
        entries, key=lambda e: (e.work.state != State.RUNNING, e.work.queued_at)
    )


def finished(limit: int, before: datetime | None = None) -> list[Entry]:
    """The newest finished work, optionally what ended before a moment."""
    syncs, builds = _syncs(), _builds()
    if before is not None:
        syncs = syncs.filter(finished_at__lt=before)
        builds = builds.filter(finished_at__lt=before)
    ended = {"finished_at__isnull": False}
    entries = [_sync(s) for s in syncs.filter(**ended).order_by("-finished_at")[:limit]]
    entries += [
        _build(b) for b in builds.filter(**ended).order_by("-finished_at")[:limit]
    ]
    return sorted(entries, key=lambda entry: entry.at, reverse=True)[:limit]


def _syncs() -> SyncQuerySet:
    return Sync.objects.select_related("application", "revision")


def _builds() -> BuildQuerySet:
    return Build.objects.select_related("function", "revision", "reused_from")


def _sync(row: Sync) -> Entry:
    note = row.revision.subject if row.revision else row.error
    return Entry(
        "Sync",
        str(row.application),
        row,
        row.get_absolute_url(),
        note,
        row.requested_by or row.get_trigger_display(),
    )


def _build(row: Build) -> Entry:
    return Entry(
        "Build",
        str(row.function),
        row,
        row.get_absolute_url(),
        row.revision.subject,
        "",
    )
