"""Everything that was done lately, across applications: syncs and builds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from applications.models import Sync, SyncQuerySet
from applications.work import State, Work
from builds import outcome
from builds.models import Build, BuildQuerySet
from builds.outcome import Outcome


@dataclass(frozen=True)
class Entry:
    """One line of the activity list."""

    what: str
    about: str
    work: Work | Outcome
    url: str
    note: str
    by: str
    # When its own row last changed. Pages are cut by it, so a sync does not move to
    # another page when its builds end.
    at: datetime

    @property
    def fact(self) -> tuple[str, object, str]:
        """What decides whether the line looks different now."""
        return (self.what, self.work.pk, self.work.state)


def active() -> list[Entry]:
    """What runs or waits: running first, then in the order it will run."""
    return _in_line(*_active())


def finished(limit: int, before: datetime | None = None) -> list[Entry]:
    """The newest finished work, optionally what ended before a moment."""
    return _newest_first(*_finished(limit, before))[:limit]


def latest(limit: int) -> list[Entry]:
    """What is active, then what finished last."""
    now, ended = _active(), _finished(limit)
    outcome.load_builds(now[0] + ended[0])
    return (_in_line(*now) + _newest_first(*ended))[:limit]


def _active() -> tuple[list[Sync], list[Build]]:
    return list(_syncs().filter(outcome.unfinished())), list(_builds().active())


def _finished(
    limit: int, before: datetime | None = None
) -> tuple[list[Sync], list[Build]]:
    syncs, builds = _syncs().exclude(outcome.unfinished()), _builds()
    if before is not None:
        syncs = syncs.filter(finished_at__lt=before)
        builds = builds.filter(finished_at__lt=before)
    ended = {"finished_at__isnull": False}
    return (
        list(syncs.filter(**ended).order_by("-finished_at")[:limit]),
        list(builds.filter(**ended).order_by("-finished_at")[:limit]),
    )


def _in_line(syncs: list[Sync], builds: list[Build]) -> list[Entry]:
    return sorted(
        _entries(syncs, builds),
        key=lambda entry: (entry.work.state != State.RUNNING, entry.work.queued_at),
    )


def _newest_first(syncs: list[Sync], builds: list[Build]) -> list[Entry]:
    return sorted(_entries(syncs, builds), key=lambda entry: entry.at, reverse=True)


def _entries(syncs: list[Sync], builds: list[Build]) -> list[Entry]:
    outcome.load_builds(syncs)
    return [*map(_sync, syncs), *map(_build, builds)]


def _syncs() -> SyncQuerySet:
    return Sync.objects.select_related("application", "revision")


def _builds() -> BuildQuerySet:
    return Build.objects.select_related("function", "revision", "reused_from")


def _sync(row: Sync) -> Entry:
    note = row.revision.subject if row.revision else row.error
    return Entry(
        "Sync",
        str(row.application),
        outcome.of(row),
        row.get_absolute_url(),
        note,
        row.started_by,
        _moment(row),
    )


def _build(row: Build) -> Entry:
    return Entry(
        "Build",
        str(row.function),
        row,
        row.get_absolute_url(),
        row.revision.subject,
        "",
        _moment(row),
    )


def _moment(row: Work) -> datetime:
    return row.finished_at or row.started_at or row.queued_at
