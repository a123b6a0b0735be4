"""Cleanup on a daemon shared with others: exactly the right images go (point 8)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.git import GitServer
from tests.fixtures.stack import Stack

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: NAME, namespace: keepers}
spec:
  functions:
    - {path: /NAME, runtime: docker, context: ., dockerfile: Dockerfile}
"""


def files(name: str, version: int) -> dict[str, str]:
    return {
        "zerverless.yaml": MANIFEST.replace("NAME", name),
        "Dockerfile": f'FROM busybox\nLABEL v={version}\nCMD ["echo", "{version}"]\n',
    }


def docker(*arguments: str, stdin: str = "") -> str:
    return subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, check=True
    ).stdout.strip()


def old(stack: Stack) -> None:
    """Let every build be older than the minutes a fresh image is spared."""
    stack.shell(AGE)


AGE = """
from datetime import timedelta
from django.db.models import F
from builds.models import Build
Build.objects.update(finished_at=F("finished_at") - timedelta(hours=1))
"""


@pytest.fixture(scope="module")
def versions(stack: Stack, git_server: GitServer) -> dict[str, list[dict[str, Any]]]:
    """Three applications with four, two and one images."""
    made: dict[str, list[dict[str, Any]]] = {}
    for name, count in (("one", 4), ("two", 2), ("gone", 1)):
        repo = git_server.make(name, files(name, 1))
        made[name] = stack.add("keepers", name, repo.url)["live"]
        for version in range(2, count + 1):
            repo.commit(files(name, version), f"v{version}")
            made[name] += stack.sync(f"keepers/{name}")["live"]
    return made


@pytest.fixture(scope="module")
def foreign() -> Iterator[tuple[str, str]]:
    """Somebody else's image and container, claiming to be ours by every label."""
    labels = "LABEL zerverless.managed=true zerverless.namespace=keepers\n"
    dockerfile = f'FROM busybox\n{labels}CMD ["sleep", "600"]\n'
    docker("build", "--quiet", "--tag=foreign-to-zerverless:1", "-", stdin=dockerfile)
    image = docker("image", "inspect", "--format={{.Id}}", "foreign-to-zerverless:1")
    container = docker("run", "--detach", "--network=none", image)
    yield image, container
    docker("rm", "--force", container)
    docker("rmi", "--force", "foreign-to-zerverless:1")


def exists(kind: str, reference: str) -> bool:
    done = subprocess.run(["docker", kind, "inspect", reference], capture_output=True)
    return done.returncode == 0


def cleanup(stack: Stack, *arguments: str) -> dict[str, Any]:
    done = stack.manage("cleanup", "--json", *arguments)
    return dict(json.loads(done.stdout))


def test_exactly_the_right_images_go_and_dry_run_names_them_first(
    stack: Stack,
    versions: dict[str, list[dict[str, Any]]],
    foreign: tuple[str, str],
) -> None:
    """Threats 48, 111, 112: two kept of four, live ones always, foreign ones never."""
    old(stack)
    doomed = {row["image_id"] for row in versions["one"][:2]}
    named = cleanup(stack, "--keep=2", "--dry-run")
    assert {row["id"] for row in named["images"]} == doomed
    assert all(exists("image", image) for image in doomed), "a dry run removed them"
    done = cleanup(stack, "--keep=2")
    assert {row["id"] for row in done["images"]} == doomed
    assert not any(exists("image", image) for image in doomed)
    kept = versions["one"][2:] + versions["two"]
    assert all(exists("image", row["image_id"]) for row in kept)
    assert exists("image", foreign[0])
    assert exists("container", foreign[1])
    assert stack.get("/keepers/one").text == "4\n"
    assert cleanup(stack, "--keep=2")["images"] == [], "a second run finds nothing"


def test_a_removed_application_takes_its_images_with_it(
    stack: Stack, versions: dict[str, list[dict[str, Any]]]
) -> None:
    """Threat 117: 404 at once, objects gone with the next cleanup, name free again."""
    stack.shell(REMOVE)
    stack.until(lambda: stack.get("/keepers/gone").status == 404, 5)
    old(stack)
    cleanup(stack)
    images = [row["image_id"] for row in versions["gone"]]
    assert not any(exists("image", image) for image in images)
    cleanup(stack)
    left = stack.shell("from applications.models import *\n" + LEFT)
    assert left.split() == ["keepers/one", "keepers/two"]


REMOVE = """
from applications.models import Application
from zerverless_site import pipeline
pipeline.remove_application(Application.objects.named("keepers/gone"))
"""
LEFT = "print(*Application.objects.all())"
