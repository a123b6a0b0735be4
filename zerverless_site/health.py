"""Is the platform itself well? For `doctor`, the System page and the banners."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Coalesce
from django.utils import timezone

from applications import git_address
from applications.errors import ZerverlessError
from applications.models import Sync
from applications.work import Cluster, State, WorkQuerySet
from builds import engine as build_engine
from builds.models import Build
from runtime import engine as container_engine
from runtime.sandboxes import PROGRAM
from zerverless_site import clusters

BEAT_MAX = timedelta(seconds=60)
# What waits longer than this is held up. A build waits for others, a sync does not.
SYNC_WAITS_MAX = timedelta(minutes=2)
BUILD_WAITS_MAX = timedelta(minutes=5)


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, whether it is well, and what to do if not."""

    name: str
    ok: bool
    summary: str
    hint: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def report() -> list[Check]:
    """Every check, in the order a person would mend them."""
    checks: list[Callable[[], Check]] = [database, disk, git, docker, buildkit, door]
    return [check() for check in checks] + workers() + lines()


def database() -> Check:
    """Reachable, and every migration applied."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return Check("database", False, str(error), "Check DATABASE_URL.")
    if missing:
        names = ", ".join(str(migration) for migration, _ in missing[:3])
        return Check("database", False, f"not migrated: {names}", "manage.py migrate")
    return Check("database", True, f"{connection.vendor}, migrated")


def disk() -> Check:
    """More than ZERVERLESS_DISK_FREE_MIN free where the data directory is."""
    free = shutil.disk_usage(settings.DATA_DIR).free
    summary = f"{free / 2**30:.1f} GiB free in {settings.DATA_DIR}"
    enough = free >= settings.ZERVERLESS_DISK_FREE_MIN
    return Check("disk", enough, summary, "" if enough else "manage.py cleanup")


def git() -> Check:
    """A git that runs, and connects only to addresses that were checked."""
    version = git_address.git_version()
    if not version:
        return Check("git", False, "does not run", "Install git.")
    named = "git version " + ".".join(map(str, version))
    if version < git_address.PINS_SINCE:
        hint = "Install git 2.37 or later; or name hosts in ZERVERLESS_GIT_ALLOW."
        return Check("git", False, f"{named} is sent to no host by its name", hint)
    return Check("git", True, named)


def docker() -> Check:
    """The Docker daemon answers, where it is used at all."""
    if not settings.DOCKER_ENABLED:
        hint = "Set DOCKER_ENABLED=on to build and run functions."
        return Check("docker", False, "switched off by DOCKER_ENABLED", hint)
    try:
        container_engine.ping()
    except ZerverlessError as error:
        return Check("docker", False, error.message, "Start Docker; see DOCKER_HOST.")
    return Check("docker", True, f"answers at {settings.DOCKER_HOST}")


def buildkit() -> Check:
    """Which builder builds will use."""
    try:
        build_engine.available()
    except ZerverlessError as error:
        return Check("builder", False, error.message, "Install a docker with buildx.")
    return Check("builder", True, "ready")


def door() -> Check:
    """The program that lets requests into server functions' sandboxes."""
    if not PROGRAM.is_file():
        summary = "missing: server functions start slower and are less apart"
        return Check(
            "sandbox socket", False, summary, "Run scripts/door; it says what it needs."
        )
    return Check("sandbox socket", True, "ready")


def workers() -> list[Check]:
    """One check per cluster of workers."""
    return [_worker(name) for name in clusters.ALL]


def _worker(name: str) -> Check:
    label = f"worker {name}"
    try:
        cluster = Cluster.objects.filter(pk=name).first()
    except DatabaseError as error:
        return Check(label, False, str(error), "manage.py migrate")
    hint = "Start `manage.py serve`; it restarts a cluster that hangs."
    if cluster is None or cluster.beat_at is None:
        return Check(label, False, "never seen", hint)
    age = timezone.now() - cluster.beat_at
    return Check(label, age < BEAT_MAX, f"worked {age.seconds} s ago", hint)


def lines() -> list[Check]:
    """The oldest work that waits in each line, and what runs meanwhile."""
    syncs = Sync.objects.select_related("application")
    builds = Build.objects.select_related("function")
    return [
        _line("waiting syncs", syncs, SYNC_WAITS_MAX),
        _line("waiting builds", builds, BUILD_WAITS_MAX),
    ]


def _line(name: str, rows: WorkQuerySet, most: timedelta) -> Check:
    try:
        # A row that was tried before waits since then.
        since = Coalesce("started_at", "queued_at")
        waiting = rows.waiting().annotate(since=since).order_by("since")
        oldest, many = waiting.first(), waiting.count()
        running = rows.filter(state=State.RUNNING).order_by("started_at").first()
    except DatabaseError as error:
        return Check(name, False, str(error), "manage.py migrate")
    if oldest is None:
        return Check(name, True, "none")
    age = timezone.now() - oldest.since
    summary = f"{many}, the oldest for {_minutes(age)}: {oldest}"
    if age < most:
        return Check(name, True, summary)
    hint = "Nothing runs: look at the workers."
    if running is not None and running.duration is not None:
        hint = f"Longest running, for {_minutes(running.duration)}: {running}."
    return Check(name, False, summary, hint)


def _minutes(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
