"""The lane of Git work: what hangs or drips leaves slots to everybody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from applications.models import Application
from applications.work import Cluster
from tests.fixtures.gateway import NewDatabase
from tests.fixtures.git import BadServer, GitServer, eventually
from zerverless_site import git_lane, schedules
from zerverless_site.git_lane import SLOTS, Job, Lane, groups_of

POLLS = SLOTS["poll"]


class Crowd:
    """Jobs that wait until the test ends, and those that ended."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.done: list[object] = []
        self.waiting: list[Job] = []

    def hang(self, count: int, *groups: str) -> None:
        for _ in range(count):
            self.add(self.release.wait, *groups)

    def pass_by(self, name: str, *groups: str) -> None:
        self.add(lambda: self.done.append(name), *groups)

    def add(self, work: Callable[[], object], *groups: str) -> None:
        key = len(self.waiting)
        job = Job("poll", key, lambda: (work(), None)[1], frozenset(groups))
        self.waiting.append(job)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowd]:
    made = Crowd()
    monkeypatch.setattr(git_lane, "waiting", lambda: list(made.waiting))
    monkeypatch.setattr(Cluster, "beat", lambda: None)
    monkeypatch.setattr(git_lane, "connection", type("", (), {"close": lambda: None}))
    yield made
    made.release.set()


@pytest.mark.parametrize(
    "groups",
    [("host slow.example",), ("namespace mallory",), ("failing", "unproven")],
    ids=["one host", "one tenant", "failed before"],
)
def test_a_crowd_of_one_kind_leaves_slots_to_others(
    crowd: Crowd, groups: tuple[str, ...]
) -> None:
    """Threats 32 and 132."""
    crowd.hang(100, *groups)
    crowd.pass_by("bystander", "host good.example", "namespace ana")
    lane = Lane()
    lane.look()
    assert eventually(lambda: crowd.done == ["bystander"])
    held = POLLS // 4 if "failing" in groups else POLLS // 2
    assert eventually(lambda: len(lane._running) == held)
    crowd.release.set()
    assert lane.join(30)


def test_what_never_worked_leaves_slots_to_what_does(crowd: Crowd) -> None:
    """Threats 32 and 132: also when each has a host and a tenant of its own."""
    for number in range(100):
        crowd.hang(1, "unproven", f"host {number}", f"namespace {number}")
    crowd.pass_by("proven", "host good.example")
    lane = Lane()
    lane.look()
    assert eventually(lambda: crowd.done == ["proven"])
    crowd.release.set()
    assert lane.join(30)


def test_a_job_that_breaks_frees_its_slot(crowd: Crowd) -> None:
    lane = Lane()
    crowd.add(lambda: 1 // 0)
    lane.look()
    assert lane.join(30)


def test_an_application_is_in_the_groups_of_its_past() -> None:
    row = Application(namespace="ana", repo_url="https://Git.example:8443/x.git")
    place = {"host git.example:8443", "namespace ana"}
    assert groups_of(row) == place | {"unproven"}
    row.checked_at = row.created_at = timezone.now()
    assert groups_of(row) == place
    row.poll_failures = 1
    assert groups_of(row) == place | {"unproven", "failing"}


def test_nothing_by_the_clock_waits_for_git() -> None:
    """Threat 132: sweeps, heals and cleanup are in another process than Git work."""
    assert {entry.task for entry in schedules.SCHEDULE} == {
        "sweep",
        "heal",
        "remove_orphans",
        "clean_up",
    }


def test_ten_servers_that_hang_keep_nobody_waiting(
    new_database: NewDatabase,
    git_server: GitServer,
    bad_git_server: Callable[..., BadServer],
    tmp_path: Path,
) -> None:
    """Threats 22, 32 and 132: real servers, real Git, a real database and its threads.

    The ten still hang while the others have been polled and synced.
    """
    bad = [bad_git_server("silent" if n % 2 else "drip") for n in range(10)]
    good = [git_server.make(f"lane/{tmp_path.name}-{n}", FILES) for n in range(12)]
    done = subprocess.run(
        [
            *(sys.executable, "-c", LANE),
            json.dumps([server.url for server in bad]),
            json.dumps([repository.url for repository in good]),
        ],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "zerverless_site.settings",
            "DATABASE_URL": new_database(tmp_path),
            "ZERVERLESS_DATA_DIR": str(tmp_path),
            "ZERVERLESS_GIT_PROTOCOLS": "http",
            "ZERVERLESS_GIT_ALLOW": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result == {"succeeded": 12, "still waiting": 10, "failed polls": 0}
    assert all(server.hits for server in bad)


FILES = {
    "zerverless.yaml": "apiVersion: zerverless.io/v1\nkind: Application\n"
    "metadata: {name: app}\nspec:\n  functions:\n"
    "    - {path: /a, runtime: docker, context: ., dockerfile: Dockerfile}\n",
    "Dockerfile": "FROM busybox\n",
}
LANE = """
import json, os, sys, time
import django; django.setup()
from applications import git_process, git_remote
from applications.models import Application, Sync
from zerverless_site.git_lane import Lane
git_remote.LOOK_SECONDS = 100
real = git_process.environment
patient = {"GIT_HTTP_LOW_SPEED_TIME": "100"}
git_process.environment = lambda *url, **more: {**real(*url, **more), **patient}
slow, good = map(json.loads, sys.argv[1:])
for number, url in enumerate(slow + good):
    Application.objects.create(
        namespace=f"tenant-{number}", name="app", repo_url=url, poll_interval=3600
    )
lane, until = Lane(), time.monotonic() + 90
def succeeded():
    return Sync.objects.filter(application__repo_url__in=good, state="succeeded")
def is_done():
    return succeeded().count() == len(good) and len(lane._running) <= len(slow)
while not is_done() and time.monotonic() < until:
    lane.look()
    time.sleep(0.1)
print(json.dumps({
    "succeeded": succeeded().count(),
    "still waiting": len(lane._running),
    "failed polls": Application.objects.exclude(poll_failures=0).count(),
}))
sys.stdout.flush()
os._exit(0)
"""
