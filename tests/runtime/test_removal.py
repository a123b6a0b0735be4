"""What the engine could not remove while it was away goes once it is back."""

from __future__ import annotations

from typing import Any

import pytest

from runtime import engine, removal
from tests.fixtures.functions import Runner, docker, wait_until

NOWHERE = "unix:///nowhere/docker.sock"


@pytest.fixture
def container(runner: Runner) -> str:
    """The name of a container that runs."""
    name = engine.container_name(runner.installation, "gateway0", "x")
    docker("run", "--detach", "--network=none", f"--name={name}", "busybox", "cat")
    return name


def test_it_is_tried_again(
    container: str, runner: Runner, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "AGAIN", 0.2)
    host, settings.DOCKER_HOST = settings.DOCKER_HOST, NOWHERE
    removal.soon(engine.remove, container)
    assert not removal.drain()
    settings.DOCKER_HOST = host
    wait_until(lambda: engine.list_ours(runner.installation) == [])
    assert removal.drain()


def test_the_end_does_not_wait_for_the_next_try(
    container: str, runner: Runner, settings: Any
) -> None:
    host, settings.DOCKER_HOST = settings.DOCKER_HOST, NOWHERE
    removal.soon(engine.remove, container)
    assert not removal.drain()
    settings.DOCKER_HOST = host
    assert removal.drain()
    assert engine.list_ours(runner.installation) == []
