"""The lane of Git work: polls, syncs and connection tests, which wait for strangers.

One process with a thread for each wait: servers that hang cost no worker of the queue,
so sweeps, cleanup and builds go on. It reads the tables itself, several times a second,
and needs no message. Its slots are shared out, so that servers that hang or drip leave
some to the others.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.db import DatabaseError, close_old_connections, connection

from applications.models import Application, ConnectionTest, Sync
from applications.work import Cluster, State
from zerverless_site import pipeline

LOOK_EVERY = 0.5
BEAT_EVERY = 5.0
# A thread cannot be ended. One that is not done by then ends the process: the
# supervisor starts another, and the work is claimed again or given up.
STUCK_SECONDS = 900.0
STOP_SECONDS = 8.0
CONSIDERED_MAX = 2000  # rows looked at in one go
SLOTS = {"poll": 24, "sync": 16, "test": 8}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One piece of work, and the groups whose share of the slots it counts for."""

    kind: str
    key: object
    work: Callable[[], None]
    groups: frozenset[str]
    began: float = field(default_factory=time.monotonic, compare=False)


def share(group: str, slots: int) -> int:
    """How many of a kind's slots a group may have at once.

    A host or a tenant has half, a person who tests connections a quarter. What never
    worked yet has three quarters, and what failed the last time one quarter: what works
    always finds a free one.
    """
    parts = {"failing": 1, "user": 1, "unproven": 3}
    return slots * parts.get(group.partition(" ")[0], 2) // 4


def groups_of(application: Application) -> frozenset[str]:
    """The groups of work for an application's repository."""
    groups = {host_of(application.repo_url), f"namespace {application.namespace}"}
    if application.poll_failures:
        groups |= {"failing", "unproven"}
    elif application.checked_at is None:
        groups.add("unproven")
    return frozenset(groups)


def host_of(url: str) -> str:
    """The group of work for one server."""
    return f"host {urlsplit(url).netloc.lower()}"


class Lane:
    """Starts what is waiting as slots allow; `stop` is set from a signal handler."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._running: dict[tuple[str, object], Job] = {}
        self._beat_at = 0.0

    def run(self) -> None:
        """Work until told to stop; leave what does not end soon to its lease."""
        while not self.stop.wait(LOOK_EVERY):
            try:
                self.look()
            except DatabaseError as error:
                log.warning("the Git lane cannot read the database: %s", error)
                close_old_connections()
        self.join(STOP_SECONDS)

    def look(self) -> None:
        """Start everything that waits and fits."""
        self._show_that_it_works()
        for job in waiting():
            if self._fits(job):
                self._start(job)

    def join(self, seconds: float) -> bool:
        """Wait until nothing runs; whether that came about in time."""
        until = time.monotonic() + seconds
        while self._running and time.monotonic() < until:
            time.sleep(0.02)
        return not self._running

    def _fits(self, job: Job) -> bool:
        same = [other for other in self._jobs() if other.kind == job.kind]
        slots = SLOTS[job.kind]
        return (
            (job.kind, job.key) not in self._running
            and len(same) < slots
            and all(
                sum(group in other.groups for other in same) < share(group, slots)
                for group in job.groups
            )
        )

    def _start(self, job: Job) -> None:
        self._running[job.kind, job.key] = job
        name = f"{job.kind} {job.key}"
        threading.Thread(target=self._do, args=[job], name=name, daemon=True).start()

    def _do(self, job: Job) -> None:
        try:
            job.work()
        except DatabaseError as error:
            log.warning("%s %s: the database failed: %s", job.kind, job.key, error)
        except Exception:
            log.exception("%s %s: unexpected error", job.kind, job.key)
        finally:
            connection.close()
            del self._running[job.kind, job.key]

    def _jobs(self) -> list[Job]:
        return list(self._running.values())

    def _show_that_it_works(self) -> None:
        now = time.monotonic()
        if now - self._beat_at < BEAT_EVERY:
            return
        for job in self._jobs():
            if now - job.began > STUCK_SECONDS:
                log.error("%s %s does not end: starting anew", job.kind, job.key)
                os._exit(1)
        Cluster.beat()
        self._beat_at = now


def waiting() -> Iterator[Job]:
    """Everything there is to do: what a person waits for first."""
    yield from _tests()
    yield from _syncs()
    yield from _polls()


def _tests() -> Iterable[Job]:
    for row in ConnectionTest.objects.waiting().order_by("pk")[:CONSIDERED_MAX]:
        yield _test(row.pk, f"user {row.asked_by}", host_of(row.form["repo_url"]))


def _test(pk: int, *groups: str) -> Job:
    return Job("test", pk, lambda: pipeline.test_connection(pk), frozenset(groups))


def _syncs() -> Iterable[Job]:
    running = Sync.objects.filter(state=State.RUNNING).values("application")
    rows = Sync.objects.waiting().exclude(application__in=running)
    for sync in rows.select_related("application").order_by("pk")[:CONSIDERED_MAX]:
        yield _sync(sync.pk, sync.application)


def _sync(pk: int, application: Application) -> Job:
    return Job("sync", pk, lambda: pipeline.reconcile(pk), groups_of(application))


def _polls() -> Iterable[Job]:
    due = Application.objects.due().order_by("poll_failures", "next_poll_at", "pk")
    seen: set[str] = set()
    for application in due[:CONSIDERED_MAX]:
        if application.repo_url not in seen:
            seen.add(application.repo_url)
            yield _poll(application)


def _poll(application: Application) -> Job:
    return Job(
        "poll",
        application.repo_url,
        lambda: pipeline.poll_repository(application),
        groups_of(application),
    )
