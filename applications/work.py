"""Work: a row with a state, a lease, an attempt counter and a heartbeat.

Sync and Build are Work. The queue only hints that there is something to do; whoever
wants to do it claims the row by one conditional UPDATE before any side effect, and
must still hold the lease when it writes its result. A worker that was killed stops
renewing its lease, and the reaper gives the row to another or gives up on it.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Self

from django.db import DatabaseError, OperationalError, connection, models
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from applications.errors import GitUnavailable, PlatformError, UserError

LEASE = timedelta(seconds=30)
HEARTBEAT_SECONDS = 5.0
MAX_ATTEMPTS = 3
# Of a row that ended for no other reason that was recorded.
GONE = "What this was for is gone: its application or function was removed."

log = logging.getLogger(__name__)


class State(models.TextChoices):
    """Where a piece of work stands; failed = the user can fix it, errored = ours."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELLED = "cancelled"


FINAL_STATES = frozenset(
    {State.SUCCEEDED, State.FAILED, State.ERRORED, State.CANCELLED}
)


class WorkQuerySet(models.QuerySet[Any]):
    """Queries every kind of work shares."""

    def active(self) -> Self:
        return self.filter(state__in=[State.QUEUED, State.RUNNING])

    def expired(self) -> Self:
        """Running rows whose worker stopped renewing the lease."""
        return self.filter(state=State.RUNNING, lease_until__lt=timezone.now())

    def waiting(self) -> Self:
        """Queued rows whose pause after a failed attempt is over."""
        over = Q(lease_until=None) | Q(lease_until__lte=timezone.now())
        return self.filter(over, state=State.QUEUED)

    def unwanted(self) -> Q:
        """Which rows nobody wants any more: they end, and no worker takes them up.

        Conditions on the row alone or on subqueries; a join would make the claim two
        steps, and two workers could win it.
        """
        return Q(pk__in=[])

    def claim(self, pk: int, **also: Any) -> str | None:
        """Take the queued row `pk`; its lease token, or None if another was first, or
        nobody wants it any more."""
        now = timezone.now()
        token = secrets.token_hex(8)
        taken = (
            self.waiting()
            .filter(~self.unwanted(), pk=pk)
            .update(
                state=State.RUNNING,
                attempt=F("attempt") + 1,
                lease_token=token,
                lease_until=now + LEASE,
                started_at=now,
                **also,
            )
        )
        return token if taken == 1 else None

    def renew(self, pk: int, token: str) -> bool:
        """Extend a lease; False when it is no longer ours."""
        return bool(self._held(pk, token).update(lease_until=timezone.now() + LEASE))

    def finish(self, pk: int, token: str, state: State, **fields: Any) -> bool:
        """Write the result if the lease is still ours; a late writer is discarded, and
        so is the success of what nobody wants any more."""
        held = self._held(pk, token)
        if state == State.SUCCEEDED:
            held = held.filter(~self.unwanted())
        return bool(
            held.update(
                state=state,
                lease_token="",
                lease_until=None,
                finished_at=timezone.now(),
                **fields,
            )
        )

    def release(self, pk: int, token: str, pause: float = 0) -> bool:
        """Put a claimed row back in line, for another attempt after `pause` seconds;
        one that nobody wants any more ends.

        Nobody claims a queued row before its `lease_until`.
        """
        held = self._held(pk, token)
        if held.end_unwanted():
            return False
        until = timezone.now() + timedelta(seconds=pause) if pause else None
        return bool(held.update(state=State.QUEUED, lease_token="", lease_until=until))

    def end_unwanted(self) -> int:
        """End those of these rows that nobody wants; how many there were."""
        said = Case(
            When(error="", then=Value(GONE)),
            default=F("error"),
            output_field=models.TextField(),
        )
        return self.filter(self.unwanted()).update(
            state=State.CANCELLED,
            lease_token="",
            lease_until=None,
            finished_at=timezone.now(),
            error=said,
        )

    def reap(self) -> tuple[list[int], list[int]]:
        """Ensure no row stays running without a worker: (queued again, given up)."""
        self.filter(state=State.QUEUED).end_unwanted()
        self.expired().end_unwanted()
        requeued, lost = [], []
        for row in self.expired():
            if row.attempt >= MAX_ATTEMPTS:
                if self.finish(
                    row.pk,
                    row.lease_token,
                    State.ERRORED,
                    error_code="work:lost",
                    error=f"The worker was lost {row.attempt} times while doing this.",
                ):
                    lost.append(row.pk)
            elif self.release(row.pk, row.lease_token):
                requeued.append(row.pk)
        return requeued, lost

    def _held(self, pk: int, token: str) -> Self:
        return self.filter(Q(pk=pk, state=State.RUNNING, lease_token=token))


class Work(models.Model):
    """Fields of every kind of work (Sync, Build)."""

    state = models.CharField(
        max_length=10, choices=State.choices, default=State.QUEUED, db_index=True
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.CharField(max_length=16, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    queued_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        abstract = True

    @property
    def is_final(self) -> bool:
        return self.state in FINAL_STATES

    @property
    def duration(self) -> timedelta | None:
        """How long it ran, or has run so far."""
        if self.started_at is None:
            return None
        return (self.finished_at or timezone.now()) - self.started_at


class Cluster(models.Model):
    """One cluster of workers, and when it last showed that it works."""

    name = models.CharField(primary_key=True, max_length=20)
    asked_at = models.DateTimeField(null=True, help_text="A beat was queued for it.")
    beat_at = models.DateTimeField(null=True, help_text="It last did something.")

    def __str__(self) -> str:
        return self.name

    @classmethod
    def beat(cls) -> None:
        """Record that this process's cluster works (see zerverless_site.supervisor)."""
        name = os.environ.get("Q_CLUSTER_NAME", "control")
        cls.objects.filter(pk=name).update(beat_at=timezone.now())


class Lease:
    """A held claim: `lost` is set when another took over or someone cancelled."""

    def __init__(self, rows: WorkQuerySet, pk: int, token: str) -> None:
        self.rows, self.pk, self.token = rows, pk, token
        self.lost = threading.Event()
        self._done = threading.Event()

    def finish(self, state: State, **fields: Any) -> bool:
        return self.rows.finish(self.pk, self.token, state, **fields)

    def _beat(self) -> None:
        try:
            while not self._done.wait(HEARTBEAT_SECONDS):
                try:
                    Cluster.beat()
                    if not self.rows.renew(self.pk, self.token):
                        self.lost.set()
                        return
                except DatabaseError:
                    # One missed beat is not a lost lease; the next may get through.
                    log.warning("heartbeat of work %s failed", self.pk, exc_info=True)
        finally:
            connection.close()


@contextmanager
def held(rows: WorkQuerySet, pk: int, token: str) -> Iterator[Lease]:
    """Keep a claimed row's lease alive from a thread while the block runs."""
    lease = Lease(rows, pk, token)
    thread = threading.Thread(target=lease._beat, name=f"lease-{pk}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease._done.set()
        thread.join()


@contextmanager
def attempt(
    rows: WorkQuerySet, row: Work, token: str, until: datetime | None = None
) -> Iterator[Lease]:
    """Do a claimed row's work: whatever ends the block, the row does not stay running.

    The block calls `lease.finish()` when it succeeds. A UserError makes the row failed;
    a PlatformError puts it back in line, each time for a longer pause, until
    MAX_ATTEMPTS or `until` makes it errored.
    When the database itself fails, the lease lapses and the reaper decides.
    """
    with held(rows, row.pk, token) as lease:
        try:
            yield lease
        except UserError as error:
            lease.finish(State.FAILED, error_code=error.code, error=error.message)
        except PlatformError as error:
            _log_failure(row, error)
            pause = error.retry_after * row.attempt
            if row.attempt < MAX_ATTEMPTS and _is_before(until, pause):
                rows.release(row.pk, token, pause)
            else:
                lease.finish(State.ERRORED, error_code=error.code, error=error.message)
        except OperationalError:
            # A database that is locked or away cannot be told anything now either: the
            # lease lapses and the reaper gives the row to another.
            log.warning("%s: the database failed", row, exc_info=True)
        except Exception:
            log.exception("%s: unexpected error", row)
            lease.finish(
                State.ERRORED,
                error_code="internal",
                error="An unexpected error of Zerverless; the log has its traceback.",
            )


def _is_before(until: datetime | None, pause: float) -> bool:
    return until is None or timezone.now() + timedelta(seconds=pause) < until


def _log_failure(row: Work, error: PlatformError) -> None:
    """In one line where a server of somebody else failed; else with a traceback."""
    if isinstance(error, GitUnavailable):
        words = " | ".join(error.message.splitlines())
        log.warning("%s: attempt %s failed: %s", row, row.attempt, words)
    else:
        log.warning("%s: attempt %s failed", row, row.attempt, exc_info=True)
