"""The Docker daemon dies under a running platform, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.git import GitServer, Repository
from tests.fixtures.own_engine import OwnEngine
from tests.fixtures.stack import Stack, free_port

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: app, namespace: team}
spec:
  functions:
    - {path: /word, runtime: docker, context: ., dockerfile: Dockerfile}
"""


def files(word: str) -> dict[str, str]:
    dockerfile = f'FROM busybox\nCMD ["echo", "{word}"]\n'
    return {"zerverless.yaml": MANIFEST, "Dockerfile": dockerfile}


@pytest.fixture(scope="module")
def lonely_stack(
    own_engine: OwnEngine,
    docker_client: Any,
    stack_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A platform on a daemon of its own, which may be killed."""
    own_engine.load(docker_client, "busybox:latest")
    environment = {"DOCKER_HOST": own_engine.host}
    if stack_database:
        environment["DATABASE_URL"] = stack_database
    stack = Stack(tmp_path_factory.mktemp("z"), free_port(), environment)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def repo(lonely_stack: Stack, git_server: GitServer) -> Repository:
    made = git_server.make("engine-loss", files("before"))
    result = lonely_stack.add("team", "app", made.url)
    assert result["state"] == "succeeded", lonely_stack.log()
    return made


def test_a_killed_daemon_is_survived_and_its_work_made_up_for(
    lonely_stack: Stack, repo: Repository, own_engine: OwnEngine
) -> None:
    """Threats 74, 98: 503 meanwhile, the queued build waits, no restart of ours."""
    assert lonely_stack.get("/team/word").text == "before\n"
    processes = {name: lonely_stack.group(name)[0] for name in lonely_stack.PROGRAMS}
    own_engine.kill()
    reply = lonely_stack.get("/team/word")
    assert (reply.status, reply.headers["X-Zerverless-Error"]) == (503, "ZV503")
    assert int(reply.headers["Retry-After"]) > 0
    assert lonely_stack.get("/-/login").status == 200
    repo.commit(files("after"), "pushed while the daemon was away")
    lonely_stack.manage("sync_application", "team/app")
    own_engine.start()
    lonely_stack.until(lambda: lonely_stack.get("/team/word").status == 200, 30)
    lonely_stack.until(lambda: lonely_stack.get("/team/word").text == "after\n", 120)
    again = {name: lonely_stack.group(name)[0] for name in lonely_stack.PROGRAMS}
    assert again == processes, "the platform had to be restarted"
