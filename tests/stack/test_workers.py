"""Two sets of workers on one database, and work that kills its worker."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.git import GitServer, Repository
from tests.fixtures.stack import ROOT, Stack
from zerverless_site import clusters

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: busy, namespace: team}
spec:
  functions:
    - {path: /busy, runtime: docker, context: ., dockerfile: Dockerfile}
"""
PUSHES = 5
RUN = secrets.token_hex(4)  # the builder's cache knows older steps


def files(version: str, step: str = "true") -> dict[str, str]:
    dockerfile = f'FROM busybox\nRUN {step}\nCMD ["echo", "{version} {RUN}"]\n'
    return {"zerverless.yaml": MANIFEST, "Dockerfile": dockerfile}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the platform puts its temporary files: nothing else is there."""
    folder = tmp_path_factory.mktemp("t")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def repo(scratch: Path, stack: Stack, git_server: GitServer) -> Repository:
    """A registered repository whose function answers."""
    made = git_server.make("busy", files("first"))
    assert stack.add("team", "busy", made.url)["state"] == "succeeded", stack.log()
    return made


def serves(stack: Stack, version: str) -> bool:
    return stack.get("/team/busy").text == f"{version} {RUN}\n"


@pytest.fixture
def second_workers(stack: Stack, tmp_path: Path) -> Iterator[None]:
    """Every cluster once more on the same database."""
    running = []
    with (tmp_path / "log").open("wb") as output:
        for name in clusters.ALL:
            command = "work_git" if name == clusters.GIT else "qcluster"
            started = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), command],
                env={**stack.env, "Q_CLUSTER_NAME": name},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            running.append(started)
    yield
    for process in running:
        process.terminate()
    for process in running:
        process.wait(60)


@contextmanager
def frozen(stack: Stack) -> Iterator[None]:
    """The first set of workers and its clock do nothing, and hold no lock."""
    assert stack.process is not None
    workers = [pid for name in clusters.ALL for pid in stack.group(f"worker-{name}")]
    stopped = [stack.process.pid]
    try:
        os.kill(stack.process.pid, signal.SIGSTOP)
        stack.until(lambda: stack.shell(WAITING) == "0", 60)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def test_two_sets_of_workers_do_everything_once(
    stack: Stack, repo: Repository, second_workers: None, scratch: Path
) -> None:
    """Threats 52 and 100: every message ten times, for whoever comes first."""
    pushed: list[str] = []

    def push() -> None:
        version = f"push {len(pushed)}"
        pushed.append(repo.commit(files(version), version))
        stack.shell(HAMMER)
        stack.until(lambda: serves(stack, version), 60)

    for _ in range(PUSHES):
        push()
    with frozen(stack):
        push()  # the second set is really there
    stack.until(lambda: stack.shell(WAITING) == "0", 60)
    made = json.loads(stack.shell(MADE))
    assert {sha: made.get(sha) for sha in pushed} == {sha: [1, 1] for sha in pushed}
    assert stack.shell(LIVE) == "1"
    assert list(scratch.iterdir()) == []


HAMMER = """
from applications.models import Application, Sync
from zerverless_site import pipeline, queue
pipeline.request_sync(Application.objects.get(), Sync.Trigger.MANUAL)
for _ in range(10):
    queue.push("run_builds", cluster=queue.BUILDS)
    queue.push("sweep")
"""
WAITING = "from django_q.models import OrmQ; print(OrmQ.objects.count())"
MADE = """
import json
from applications.models import Revision
print(json.dumps({
    row.sha: [row.builds.count(), sum(b.deployments.count() for b in row.builds.all())]
    for row in Revision.objects.all()
}))
"""
LIVE = "from runtime.models import *; print(Deployment.objects.live().count())"


def is_sleeping(mark: str) -> bool:
    listing = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True)
    return f"sleep {mark}" in listing.stdout.splitlines()


def test_a_build_that_kills_its_workers_is_given_up(
    stack: Stack, repo: Repository, scratch: Path
) -> None:
    """Threats 42, 45 and 96: three attempts, a reason, and no temporary file."""
    before = stack.get("/team/busy").text
    mark = f"5{secrets.randbelow(10**8):08}"
    repo.commit(files("poison", f"sleep {mark}"), "poison")
    stack.manage("sync_application", "team/busy")
    for _ in range(3):
        stack.until(lambda: is_sleeping(mark), 60)
        for pid in stack.group("worker-builds"):
            os.kill(pid, signal.SIGKILL)
        stack.until(lambda: not is_sleeping(mark), 10)
        stack.shell(LAPSE)
    stack.until(lambda: stack.shell(LATEST) == "errored work:lost 3", 60)
    assert stack.get("/team/busy").text == before
    assert list(scratch.iterdir()) == []
    stack.shell(FORGET)


# The messages of killed workers come again after the queue's own 20 minutes: a test
# that waits for an empty queue cannot wait for them.
FORGET = "from django_q.models import OrmQ; OrmQ.objects.all().delete()"
# Half a minute without a heartbeat, and the pause before another attempt.
LAPSE = """
from datetime import timedelta
from django.utils import timezone
from builds.models import Build
past = timezone.now() - timedelta(minutes=5)
Build.objects.filter(state="running").update(lease_until=past, started_at=past)
"""
LATEST = """
from builds.models import Build
build = Build.objects.latest("pk")
print(build.state, build.error_code, build.attempt)
"""
