"""A page asks the database the same few questions however many rows there are."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.fixtures.pages import (
    World,
    make_build,
    make_deployment,
    make_instance,
    make_invocation,
    make_revision,
    make_sync,
    make_world,
)

MOST = 13  # session and user included


def more_history(world: World) -> None:
    revision = make_revision(world.application, "Another commit")
    sync = make_sync(world.application, revision)
    deployment = make_deployment(make_build(world.function, sync, log=["a line"]))
    make_invocation(deployment)
    make_instance(deployment)


@pytest.mark.parametrize(
    "page",
    [
        "/-/",
        "/-/applications/",
        "/-/functions/",
        "/-/activity",
        "application",
        "sync",
        "build",
        "function",
    ],
)
def test_the_number_of_queries_does_not_grow(dashboard: Client, page: str) -> None:
    """Threat 94."""
    world = make_world()
    address = page if page.startswith("/") else getattr(world, page).get_absolute_url()
    few = _queries(dashboard, address)
    for number in range(6):
        more_history(make_world(f"/more-{number}"))
        more_history(world)
    many = _queries(dashboard, address)
    assert many <= few
    assert many <= MOST


def _queries(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)
