"""Any process may be killed; the platform recovers without a human (threats 95-98)."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

import pytest
from django.conf import settings

from tests.fixtures.git import GitServer, Repository
from tests.fixtures.stack import Stack

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: steady, namespace: team}
spec:
  functions:
    - path: /steady
      runtime: docker
      context: .
      dockerfile: ./Dockerfile
"""
DOCKERFILE = 'FROM busybox\nCMD ["echo", "VERSION"]\n'
SLOW_SERVER = """\
FROM busybox
RUN mkdir /www && echo VERSION >/www/index.html
EXPOSE 8080
CMD ["sh", "-c", "sleep 5; exec httpd -f -p $PORT -h /www"]
"""
SLOW = 'FROM busybox\nRUN echo VERSION; sleep 12; true\nCMD ["echo", "VERSION"]\n'


def files(version: str, dockerfile: str = DOCKERFILE) -> dict[str, str]:
    return {
        "zerverless.yaml": MANIFEST,
        "Dockerfile": dockerfile.replace("VERSION", version),
    }


@pytest.fixture(scope="module")
def repo(stack: Stack, git_server: GitServer) -> Repository:
    """A registered repository whose function answers."""
    made = git_server.make("steady", files("first"))
    assert stack.add("team", "steady", made.url)["state"] == "succeeded", stack.log()
    assert stack.get("/team/steady").text == "first\n"
    return made


def answers(stack: Stack) -> bool:
    return stack.get("/team/steady").status == 200


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def is_waiting_for_the_queue(pid: int) -> bool:
    """The idle worker that holds the queue's lock sleeps in a pipe read."""
    try:
        return "pipe_read" in Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("which", [0, -1], ids=["main", "worker"])
def test_a_killed_gateway_is_back_in_seconds(
    stack: Stack, repo: Repository, which: int
) -> None:
    pids = stack.group("gateway")
    kill(pids[which])
    # Nobody is turned away meanwhile: who comes waits for the next one.
    assert answers(stack)
    stack.until_replaced("gateway", pids)


@pytest.mark.parametrize("which", [0, -1], ids=["main", "worker"])
def test_functions_answer_while_the_dashboard_is_killed(
    stack: Stack, repo: Repository, which: int
) -> None:
    pids = stack.group("web")
    kill(pids[which])
    assert answers(stack)
    stack.until_replaced("web", pids)
    stack.until(lambda: stack.get("/-/login").status == 200, 30)


@pytest.mark.parametrize("program", ["worker-control", "worker-builds", "worker-git"])
def test_a_killed_cluster_works_again(
    stack: Stack, repo: Repository, program: str
) -> None:
    kill(stack.group(program)[0])
    version = f"after {program}"
    repo.commit(files(version), version)
    assert stack.sync("team/steady")["state"] == "succeeded"
    assert stack.get("/team/steady").text == f"{version}\n"


def test_a_cluster_that_only_looks_alive_is_restarted(
    stack: Stack, repo: Repository
) -> None:
    """Threat 95: the idle worker dies holding the queue's lock."""
    before = stack.group("worker-control")
    for pid in filter(is_waiting_for_the_queue, before[1:]):
        kill(pid)
    stack.until_replaced("worker-control", before)
    repo.commit(files("after the lock"), "after the lock")
    assert stack.sync("team/steady")["state"] == "succeeded"
    assert stack.get("/team/steady").text == "after the lock\n"


def test_a_build_whose_worker_is_killed_is_taken_up_again(
    stack: Stack, repo: Repository
) -> None:
    """Threats 45, 98: no build container stays, no row stays running."""
    version = f"slowly {secrets.token_hex(4)}"  # the builder's cache knows older ones
    repo.commit(files(version, SLOW), "slow")
    stack.manage("sync_application", "team/steady")
    stack.until(lambda: build_processes(version), 60)
    for pid in stack.group("worker-builds")[1:]:
        kill(pid)
    stack.until(lambda: not build_processes(version), 10)
    stack.until(lambda: stack.get("/team/steady").text == f"{version}\n", 150)
    assert stack.shell(COUNT_RUNNING) == "0"


def test_a_trial_whose_worker_is_killed_leaves_nothing(
    stack: Stack, repo: Repository
) -> None:
    """Threat 98: no instance stays, no row stays running, the commit goes live."""
    version = f"tried {secrets.token_hex(4)}"
    repo.commit(files(version, SLOW_SERVER), "a server that takes its time")
    gateways = set(stack.shell(GATEWAYS).split())
    stack.manage("sync_application", "team/steady")
    stack.until(lambda: owners_of_instances(stack) - gateways, 60)
    for pid in stack.group("worker-builds")[1:]:
        kill(pid)
    (lost,) = owners_of_instances(stack) - gateways
    assert answers(stack), "what served was taken down for a trial"
    assert version not in stack.get("/team/steady").text
    stack.shell(AS_IF_A_MINUTE_LATER.replace("OWNER", lost))
    assert lost not in owners_of_instances(stack)
    stack.until(lambda: stack.get("/team/steady").text == f"{version}\n", 90)
    assert stack.shell(COUNT_RUNNING) == "0"
    left = stack.shell(GATEWAYS).split()
    assert owners_of_instances(stack) <= set(left)


GATEWAYS = """
from runtime.models import Gateway
print(*Gateway.objects.values_list("id", flat=True))
"""
# The lease of the build and the heartbeat of its trial are old; then the clock's tasks.
AS_IF_A_MINUTE_LATER = """
from datetime import timedelta
from django.utils import timezone
from builds.models import Build
from runtime import cleanup
from runtime.models import Gateway
from zerverless_site import pipeline
past = timezone.now() - timedelta(minutes=1)
Build.objects.filter(state="running").update(lease_until=past, started_at=past)
Gateway.objects.filter(id="OWNER").update(heartbeat_at=past)
cleanup.remove_orphans()
pipeline.sweep()
"""


def owners_of_instances(stack: Stack) -> set[str]:
    """Whose containers run a server function now."""
    prefix = f"zerverless-{stack.installation}-"
    listing = subprocess.run(
        ["docker", "ps", "--filter", f"name={prefix}", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = listing.stdout.split()
    return {name.removeprefix(prefix).split("-")[0] for name in names if "-s" in name}


COUNT_RUNNING = """
from applications.models import Sync
from builds.models import Build
print(sum(rows.objects.filter(state="running").count() for rows in (Sync, Build)))
"""


def build_processes(version: str) -> list[str]:
    """What the daemon runs for the slow build's RUN step."""
    listing = subprocess.run(
        ["ps", "-eo", "args="], capture_output=True, text=True, check=True
    )
    wanted = f"echo {version}; sleep 12; true"
    return [
        line
        for line in listing.stdout.splitlines()
        if wanted in line and line.startswith("/bin/sh -c")
    ]


def monitor_of_a_fresh_cluster(stack: Stack) -> int:
    """The cluster's result monitor, told by when it started.

    The queue starts its leader and guard first, then the workers, the monitor and
    the pusher. It holds only in a new cluster: a worker replaced later comes last.
    """
    before = stack.group("worker-control")
    kill(before[0])
    stack.until_replaced("worker-control", before)
    leader_guard_monitor_pusher = 4
    members = settings.Q_CLUSTER["workers"] + leader_guard_monitor_pusher
    stack.until(lambda: len(stack.group("worker-control")) == members, 30)
    return stack.group("worker-control")[-2]


def test_a_monitor_that_hangs_holds_up_no_work(stack: Stack, repo: Repository) -> None:
    """Threat 102: results are never collected again; ours are in our tables."""
    monitor = monitor_of_a_fresh_cluster(stack)
    os.kill(monitor, signal.SIGSTOP)
    try:
        for version in ("hung one", "hung two"):
            repo.commit(files(version), version)
            assert stack.sync("team/steady")["state"] == "succeeded"
            assert stack.get("/team/steady").text == f"{version}\n"
    finally:
        os.kill(monitor, signal.SIGCONT)


def test_a_database_locked_for_half_a_minute_loses_nothing(
    stack: Stack, repo: Repository
) -> None:
    """Threat 101: another writer holds the lock longer than our patience."""
    repo.commit(files("after the writer"), "pushed behind a lock")
    stack.manage("sync_application", "team/steady")
    with stack.locked_database():
        deadline = time.monotonic() + 25
        while time.monotonic() < deadline:
            assert answers(stack), "a function needed the database"
    stack.until(lambda: stack.get("/team/steady").text == "after the writer\n", 120)
    assert stack.shell(COUNT_RUNNING) == "0"
