"""What runs of a function, and what it says, on its page and on one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from runtime import engine
from runtime.models import GATEWAY_DEAD, Gateway, Instance, InstanceState
from tests.fixtures.functions import docker
from tests.fixtures.pages import World, make_instance, make_world

HTMX = {"HX-Request": "true"}


@pytest.fixture
def world(pages: None) -> World:
    world = make_world()
    config = {**world.deployment.config, "port": 8080}
    type(world.deployment).objects.update(config=config)
    return world


def page(client: Client, world: World) -> str:
    return client.get(world.function.get_absolute_url()).content.decode()


def test_a_function_shows_its_instances(dashboard: Client, world: World) -> None:
    one = make_instance(world.deployment, in_flight=3)
    make_instance(world.deployment, state=InstanceState.PAUSED)
    body = page(dashboard, world)
    for words in (
        "Ready",
        "Paused",
        "187 ms",
        one.short_name,
        f"v{one.deployment.number}",
    ):
        assert words in body


def test_a_server_at_zero_says_so_and_another_function_nothing(
    dashboard: Client, world: World
) -> None:
    assert "the next request starts one" in page(dashboard, world)
    once = make_world("/once")
    assert "the next request starts one" not in page(dashboard, once)


def test_one_that_starts_has_no_log_to_go_to(dashboard: Client, world: World) -> None:
    row = make_instance(world.deployment, state=InstanceState.STARTING, cold_ms=None)
    body = page(dashboard, world)
    assert "Starting" in body
    assert reverse("function_instance", args=[row.pk]) not in body


def test_instances_of_a_dead_gateway_are_not_shown(
    dashboard: Client, world: World
) -> None:
    row = make_instance(world.deployment)
    Gateway.objects.update(heartbeat_at=timezone.now() - GATEWAY_DEAD)
    assert row.short_name not in page(dashboard, world)
    address = reverse("function_instance", args=[row.pk])
    assert dashboard.get(address).status_code == 404


def test_the_part_is_sent_only_when_it_has_changed(
    dashboard: Client, world: World
) -> None:
    make_instance(world.deployment)
    address = reverse("instances_part", args=[world.function.pk])
    first = dashboard.get(address, headers=HTMX)
    seen = {"seen": first.context["version"]}
    assert dashboard.get(address, seen, headers=HTMX).status_code == 204
    Instance.objects.update(state=InstanceState.PAUSED)
    assert b"Paused" in dashboard.get(address, seen, headers=HTMX).content
    assert dashboard.get(address).status_code == 404, "half a page in a tab"


@pytest.fixture
def talking(world: World) -> Iterator[Instance]:
    """A row with a real container behind it, which has said something."""
    row = make_instance(world.deployment)
    script = "echo to stdout; echo '<b>&token=hush' >&2; exec sleep 600"
    arguments = ("--detach", "--network=none", f"--name={row.name}", "busybox")
    docker("run", *arguments, "sh", "-c", script)
    yield row
    engine.remove(row.name)


def test_the_last_lines_of_its_log_are_on_its_page(
    dashboard: Client, talking: Instance
) -> None:
    address = reverse("function_instance", args=[talking.pk])
    body = dashboard.get(address).content.decode()
    assert "to stdout" in body
    assert "&lt;b&gt;" in body, "what a function writes is text, never markup"
    assert "hush" not in body
    assert '<noscript><meta http-equiv="refresh"' in body


def test_the_log_follows_and_ends_with_the_instance(
    dashboard: Client, talking: Instance
) -> None:
    address = reverse("instance_logs", args=[talking.pk])
    first = dashboard.get(address, headers=HTMX)
    assert b"to stdout" in first.content
    seen = {"seen": first.context["version"]}
    assert dashboard.get(address, seen, headers=HTMX).status_code == 204
    Instance.objects.all().delete()
    last = dashboard.get(address, seen, headers=HTMX).content
    assert b"has ended" in last
    assert b"hx-get" not in last


def test_an_engine_that_is_away_is_said_and_is_no_error(
    dashboard: Client, world: World, settings: Any
) -> None:
    settings.DOCKER_HOST = "unix:///nowhere/docker.sock"
    address = reverse("function_instance", args=[make_instance(world.deployment).pk])
    answer = dashboard.get(address)
    assert answer.status_code == 200
    assert b"cannot be read" in answer.content


def test_strangers_see_no_log(visitor: Client, world: World) -> None:
    row = make_instance(world.deployment)
    for name in ("function_instance", "instance_logs"):
        answer = visitor.get(reverse(name, args=[row.pk]), headers=HTMX)
        assert answer.status_code == 302
