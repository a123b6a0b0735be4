"""The example of the original design, verbatim, through the whole platform."""

from __future__ import annotations

import re
import secrets
import threading
from typing import Any

import pytest

from tests.fixtures.git import GitServer, Repository
from tests.fixtures.stack import Stack

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata:
  name: my-app
  namespace: alice
spec:
  source:
    repoURL: https://github.com/user/my-repo
    branch: main
  functions:
    - path: /api
      runtime: docker
      dockerfile: ./services/api/Dockerfile
      context: ./services/api
"""
DOCKERFILE = """\
FROM python:3.11-slim
WORKDIR /app
COPY app.py .
CMD ["python", "app.py"]
"""
APP = """\
import json, os, sys
print(json.dumps({
    "version": "VERSION",
    "method": os.environ["REQUEST_METHOD"],
    "query": os.environ.get("QUERY_STRING", ""),
    "name": os.environ.get("INPUT_NAME"),
    "commit": os.environ["ZERVERLESS_COMMIT"],
    "body": sys.stdin.read(),
}))
"""


def files(version: str) -> dict[str, str]:
    return {
        "zerverless.yaml": MANIFEST,
        "services/api/Dockerfile": DOCKERFILE,
        "services/api/app.py": APP.replace("VERSION", version),
    }


@pytest.fixture(scope="module")
def repo(git_server: GitServer) -> Repository:
    return git_server.make("my-repo", files("one"))


@pytest.fixture(scope="module")
def first(stack: Stack, repo: Repository) -> dict[str, Any]:
    """The repository registered, its first commit live."""
    result = stack.add("alice", "my-app", repo.url)
    assert result["state"] == "succeeded", stack.log()
    return {**result, "sha": repo.head}


def test_get_and_post_answer_from_a_container(
    stack: Stack, first: dict[str, Any]
) -> None:
    got = stack.get("/alice/api?name=Ada")
    assert got.status == 200, got.text
    assert got.headers["Content-Type"] == "application/json"
    answer = got.json()
    assert answer["method"] == "GET"
    assert (answer["query"], answer["name"]) == ("name=Ada", "Ada")
    assert re.fullmatch("[0-9a-f]{40}", answer["commit"])
    posted = stack.get("/alice/api", b'{"name": "Grace"}').json()
    assert posted["method"] == "POST"
    assert posted["body"] == '{"name": "Grace"}'


def test_tag_and_deployment_are_as_specified(
    stack: Stack, first: dict[str, Any]
) -> None:
    (live,) = first["live"]
    assert re.fullmatch(r"zerverless/alice/api:\d{14}-[0-9a-f]{20}", live["image"])
    assert live["image_id"].startswith("sha256:")
    assert (live["deployment"], live["commit"]) == (1, first["sha"])
    assert re.fullmatch(
        r"v\d+", stack.get("/alice/api").headers["X-Zerverless-Revision"]
    )


class Caller(threading.Thread):
    """Calls a URL without a pause until told to stop; remembers every status."""

    def __init__(self, stack: Stack, path: str) -> None:
        super().__init__(daemon=True)
        self.stack, self.path = stack, path
        self.statuses: list[int] = []
        self.versions: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            reply = self.stack.get(self.path)
            self.statuses.append(reply.status)
            if reply.status == 200:
                self.versions.append(reply.json()["version"])


def test_a_push_is_live_after_the_next_poll_without_a_failed_request(
    stack: Stack, repo: Repository, first: dict[str, Any]
) -> None:
    """Threat 73, and point 2: polled, not clicked."""
    caller = Caller(stack, "/alice/api")
    caller.start()
    new = secrets.token_hex(4)
    sha = repo.commit(files(new), f"version {new}")
    stack.shell(POLL_NOW)
    stack.until(lambda: new in caller.versions, 120)
    caller.done.set()
    caller.join(60)
    assert set(caller.statuses) == {200}
    since = caller.versions[caller.versions.index(new) :]
    assert set(since) == {new}, "an old version came back"
    assert stack.get("/alice/api").json()["commit"] == sha


# The next poll, without waiting for it.
POLL_NOW = """
from django.utils import timezone
from applications.models import Application
Application.objects.update(next_poll_at=timezone.now())
"""


def test_a_broken_dockerfile_changes_nothing_that_serves(
    stack: Stack, repo: Repository, first: dict[str, Any]
) -> None:
    before = stack.get("/alice/api").json()
    broken = DOCKERFILE.replace("COPY app.py .", "RUN echo hello && exit 7")
    repo.commit({**files("bad"), "services/api/Dockerfile": broken}, "break it")
    result = stack.sync("alice/my-app")
    (build,) = result["builds"]
    assert build["state"] == "failed"
    assert "exit 7" in build["error"]
    after = stack.get("/alice/api").json()
    assert after["commit"] == before["commit"]
    log = stack.shell(LOG.format(pk=build["build"]))
    assert "hello" in log


LOG = """
from builds.models import Build
from builds import log
print("\\n".join(log.whole(Build.objects.get(pk={pk}))))
"""


def test_a_broken_manifest_changes_nothing_and_says_where(
    stack: Stack, repo: Repository, first: dict[str, Any]
) -> None:
    before = stack.get("/alice/api").json()["commit"]
    typo = {"zerverless.yaml": MANIFEST.replace("docker", "doker", 1)}
    repo.commit({**files("typo"), **typo}, "typo")
    result = stack.sync("alice/my-app")
    assert result["state"] == "failed"
    assert "zerverless.yaml:12:16: spec.functions[0].runtime" in result["error"]
    assert stack.get("/alice/api").json()["commit"] == before
