"""What a killed gateway leaves running goes, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from runtime import cleanup, engine
from runtime.models import Deployment, Gateway, Installation, Instance, InstanceState
from tests.fixtures.functions import docker
from tests.fixtures.pages import make_world

SLEEPER = ("busybox", "sleep", "600")


@pytest.fixture
def installation(db: None) -> Iterator[str]:
    name = Installation.current().name
    yield name
    for container in engine.list_ours(name):
        engine.remove(container.id)


def gateway(name: str, seconds_silent: float) -> Gateway:
    silent = timezone.now() - timedelta(seconds=seconds_silent)
    return Gateway.objects.create(pk=name, pid=1, heartbeat_at=silent)


def container(installation: str, owner: Gateway, suffix: str) -> str:
    name = engine.container_name(installation, owner.pk, suffix)
    return docker("run", "--detach", "--network=none", f"--name={name}", *SLEEPER)


def row(owner: Gateway, deployment: Deployment) -> Instance:
    return Instance.objects.create(
        name=f"of-{owner.pk}",
        gateway=owner,
        deployment=deployment,
        state=InstanceState.READY,
        memory=256 << 20,
        started_at=timezone.now(),
    )


@pytest.mark.newer_engine
def test_a_dead_gateways_containers_go_within_a_minute(installation: str) -> None:
    deployment = make_world().deployment
    alive, dead = gateway("alive", 3), gateway("dead", 50)
    kept = [container(installation, alive, "one"), row(alive, deployment).pk]
    for suffix in ("one", "two"):
        container(installation, dead, suffix)
    row(dead, deployment)
    assert [i.pk for i in Instance.objects.present()] == kept[1:], "shown while dead"

    cleanup.remove_orphans()

    assert [c.id for c in engine.list_ours(installation)] == kept[:1]
    assert list(Gateway.objects.all()) == [alive]
    assert [i.pk for i in Instance.objects.all()] == kept[1:]


def test_with_every_gateway_alive_the_engine_is_not_even_asked(
    db: None, settings: Any
) -> None:
    settings.DOCKER_HOST = "unix:///nowhere"
    gateway("alive", 3)
    cleanup.remove_orphans()


def test_what_cannot_be_removed_now_is_tried_again(
    installation: str, settings: Any
) -> None:
    dead = gateway("dead", 50)
    container(installation, dead, "one")
    host = settings.DOCKER_HOST
    settings.DOCKER_HOST = "unix:///nowhere"
    cleanup.remove_orphans()
    assert Gateway.objects.filter(pk="dead").exists()
    settings.DOCKER_HOST = host
    cleanup.remove_orphans()
    assert engine.list_ours(installation) == []
