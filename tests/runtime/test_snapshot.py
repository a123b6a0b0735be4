"""The rows that show what a gateway's instances are doing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runtime import snapshot
from runtime.fleet import Fleet
from runtime.instance import Instance
from runtime.models import Gateway, InstanceState
from runtime.models import Instance as Row
from runtime.snapshot import Snapshot
from tests.fixtures.crew import Body, Crew, server
from tests.fixtures.pages import World, make_world


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(snapshot, "INTERVAL", 0)
    Gateway.objects.create(pk="g1", pid=1)
    return make_world()


@pytest.fixture
def fleet(world: World) -> Fleet:
    """A fleet with one instance, of a deployment there is."""
    crew = Crew()
    fleet = Fleet(server(world.deployment.pk), crew.instances)
    crew.instances.fleets[world.deployment.pk] = fleet
    add(fleet)
    return fleet


def add(fleet: Fleet) -> Body:
    body = Body(cast(Any, fleet)._house, fleet.route)
    body.state = InstanceState.READY
    body.cold_ms, body.started_at = 187.5, timezone.now().timestamp() - 60
    fleet.ready.append(cast(Instance, body))
    return body


def of(fleet: Fleet) -> Snapshot:
    return Snapshot("g1", cast(Any, fleet)._house)


def test_each_instance_has_a_row(world: World, fleet: Fleet) -> None:
    fleet.ready[0].in_flight = 3
    fleet.starting = 1
    of(fleet).write()
    coming, ready = Row.objects.order_by("state").reverse()
    assert (ready.name, ready.state) == (fleet.ready[0].name, "ready")
    assert (ready.in_flight, ready.cold_ms) == (3, 187.5)
    assert ready.deployment == world.deployment
    assert ready.last_used_at is not None
    assert timezone.now() - ready.last_used_at < timedelta(seconds=5)
    assert timedelta(seconds=55) < timezone.now() - ready.started_at
    assert (coming.state, coming.cold_ms, coming.last_used_at) == (
        "starting",
        None,
        None,
    )


def test_only_what_has_changed_is_written(fleet: Fleet) -> None:
    writer = of(fleet)
    writer.write()
    with CaptureQueriesContext(connection) as nothing:
        writer.write()
    assert not nothing.captured_queries
    fleet.ready[0].state = InstanceState.PAUSED
    writer.write()
    assert Row.objects.get().state == "paused"


def test_what_is_gone_has_no_row(fleet: Fleet) -> None:
    writer = of(fleet)
    add(fleet)
    writer.write()
    assert Row.objects.count() == 2
    fleet.ready.pop()
    writer.write()
    assert Row.objects.count() == 1
    Gateway.objects.all().delete()
    assert not Row.objects.exists(), "they go with their gateway"


def test_an_instance_of_a_deleted_deployment_spoils_no_other(
    world: World, fleet: Fleet
) -> None:
    other = Fleet(server(world.deployment.pk + 1000), cast(Any, fleet)._house)
    cast(Any, fleet)._house.fleets[other.route.deployment_id] = other
    add(other)
    of(fleet).write()
    assert [row.name for row in Row.objects.all()] == [fleet.ready[0].name]


def test_what_could_not_be_written_is_written_later(fleet: Fleet) -> None:
    writer = of(fleet)
    with pytest.raises(DatabaseError), connection.execute_wrapper(_fails):
        writer.write()
    writer.write()
    assert Row.objects.count() == 1


def _fails(*_: Any) -> None:
    raise DatabaseError("away")
