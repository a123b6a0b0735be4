"""The platform in use while parts of it are killed: what fails, and what is left.

The whole length of it is `python -m benchmarks.soak`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import pytest

from tests.fixtures import census
from tests.fixtures.chaos import Chaos
from tests.fixtures.functions import wait_until
from tests.fixtures.git import Executable, GitServer
from tests.fixtures.load import Load
from tests.fixtures.servers import server_program
from tests.fixtures.stack import Stack, free_port

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: soak, namespace: team}
spec:
  functions:
    - path: /warm
      runtime: docker
      context: ./warm
      port: 8080
      memory: 32Mi
      instances: {max: 3}
      idle: 3s
    - {path: /once, runtime: docker, context: ./once, memory: 32Mi}
"""
ONCE = """\
FROM busybox
CMD ["sh", "-c", "echo v$ZERVERLESS_DEPLOYMENT $PATH_INFO"]
"""
# What waits for nobody goes soon, so that what is left at the end was lost.
ENVIRONMENT = {"ZERVERLESS_PRIMED_KEEP": "3s"}
# As if the killed gateway had been silent for the time after which it counts as dead.
LATER = """
from datetime import timedelta
from runtime import cleanup
from runtime.models import GATEWAY_DEAD, Gateway
newest = Gateway.objects.latest("started_at")
for gateway in Gateway.objects.exclude(pk=newest.pk):
    gateway.heartbeat_at -= GATEWAY_DEAD
    gateway.save()
cleanup.remove_orphans()
"""


@pytest.fixture(scope="module")
def soaked(git_server: GitServer, stack_database: str) -> Iterator[Stack]:
    """A platform of its own: much of it is killed."""
    data_dir = Path(tempfile.mkdtemp(prefix="z"))
    database = {"DATABASE_URL": stack_database} if stack_database else {}
    stack = Stack(data_dir, free_port(), {**ENVIRONMENT, **database})
    repo = git_server.make(
        "soak",
        {
            "zerverless.yaml": MANIFEST,
            "once/Dockerfile": ONCE,
            "warm/Dockerfile": 'FROM scratch\nCOPY server /\nENTRYPOINT ["/server"]\n',
            "warm/server": Executable(server_program()),
        },
    )
    try:
        stack.start()
        added = stack.add("team", "soak", repo.url)
        assert len(added["live"]) == 2, (added, stack.log())
        yield stack
    finally:
        stack.stop()
        stack.remove_images()
        shutil.rmtree(data_dir)


def test_what_is_killed_costs_its_own_requests_and_leaves_nothing(
    soaked: Stack,
) -> None:
    chaos = Chaos(soaked)
    before = census.take(soaked)
    warm = Load(soaked.port, "/team/warm", rate=2500, most=20_000)
    once = Load(
        soaked.port, "/team/once", connections=3, rate=6, most=60, below="/once"
    )
    kinds = iter(["server", "once", "gateway", "sandbox", "server", "once"])
    with warm.running(), once.running():
        while not (warm.is_over and once.is_over):
            sleep(1)
            if (kind := next(kinds, "")) == "gateway":
                chaos.kill_gateway()
            elif kind:
                chaos.kill_container(kind)
    failures = warm.tally.failures + once.tally.failures
    assert chaos.unexplained(failures) == []
    assert 0 < len(failures) < 5_000, Counter(one.what for one in failures)
    soaked.shell(LATER)
    wait_until(lambda: census.take(soaked).is_at_rest, 20)
    # The one volume holds what starts containers ahead; it is made for the first.
    before.volumes.append("launcher")
    assert census.take(soaked).lost(before, descriptors=16) == []
