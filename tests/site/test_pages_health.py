"""Health counts answers and the newest commit, and lists and pages agree on it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from applications.models import Application, Function
from applications.work import State
from builds.models import Build
from runtime import serving
from runtime.models import Deployment, TrafficMinute
from runtime.serving import Health
from tests.fixtures.pages import (
    World,
    make_build,
    make_deployment,
    make_revision,
    make_sync,
    make_world,
)


@pytest.fixture
def world(pages: None) -> World:
    """A function that has been live for a day."""
    world = make_world()
    day_ago = timezone.now() - timedelta(days=1)
    Deployment.objects.update(created_at=day_ago)
    return world


def answered(function: Function, requests: int, *, own: int = 0, ours: int = 0) -> None:
    """What a gateway counted in the minute before the last."""
    _counted(function, int(time.time() // 60) - 2, requests, own, ours)


def _counted(
    function: Function, minute: int, requests: int, own: int, ours: int
) -> None:
    TrafficMinute.objects.create(
        function=function,
        minute=minute,
        counted_by=f"g{TrafficMinute.objects.count()}",
        requests=requests,
        redirects=0,
        client_errors=0,
        function_errors=own,
        platform_errors=ours,
        cold_starts=0,
        cold_seconds=0,
        seconds=1,
        durations=[],
    )


@pytest.mark.parametrize(
    ("requests", "own", "ours", "health"),
    [
        (150, 41, 0, Health.DEGRADED),  # the 27 % of the review
        (150, 0, 41, Health.DEGRADED),
        (100, 3, 2, Health.DEGRADED),
        (100, 4, 0, Health.HEALTHY),
        (2, 2, 0, Health.HEALTHY),  # too few to tell
        (3, 3, 0, Health.DEGRADED),
        (0, 0, 0, Health.HEALTHY),
    ],
)
def test_a_function_whose_answers_fail_is_degraded(
    world: World, requests: int, own: int, ours: int, health: Health
) -> None:
    """Five of a hundred, and three at least; counted by several gateways."""
    answered(world.function, requests - requests // 2, own=own)
    answered(world.function, requests // 2, ours=ours)
    assert serving.counts() == {health: 1}
    assert [row.pk for row in serving.needing_attention(9)] == (
        [world.function.pk] if health == Health.DEGRADED else []
    )


def test_only_the_live_deployment_s_last_minutes_count(world: World) -> None:
    """A fix is seen at once: what failed before it went live is not its own."""
    now = int(time.time() // 60)
    _counted(world.function, now - serving.RECENT_MINUTES - 1, 100, 100, 0)
    assert serving.counts() == {Health.HEALTHY: 1}
    answered(world.function, 100, own=100)
    assert serving.counts() == {Health.DEGRADED: 1}
    fix = make_build(world.function, make_sync(world.application, world.revision))
    make_deployment(fix)
    assert serving.counts() == {Health.HEALTHY: 1}


def test_every_page_names_failing_answers(dashboard: Client, world: World) -> None:
    answered(world.function, 150, own=41)
    said = "27 % of 150 requests failed in the last 15 minutes."
    for page in pages_of(world):
        assert said in text_of(dashboard, page), page


@pytest.mark.parametrize(
    ("state", "fields", "said"),
    [
        (State.FAILED, {"error": "No such package."}, "failed to build: No such"),
        (State.ERRORED, {"error": "Docker went."}, "could not be built, by a fault"),
        (
            State.CANCELLED,
            {"cancelled_by": "ana", "error": "Cancelled by ana."},
            "was not built: cancelled by ana.",
        ),
    ],
)
def test_a_newest_commit_that_does_not_serve_is_said_everywhere(
    dashboard: Client, world: World, state: State, fields: dict[str, Any], said: str
) -> None:
    """Git's line said "up to date" with a commit that nothing served."""
    newest = make_revision(world.application, "Break it")
    sync = make_sync(world.application, newest)
    make_build(world.function, sync, state=state, image_id="", **fields)
    for page in pages_of(world):
        shown = text_of(dashboard, page)
        assert f"{newest.short_sha} {said}" in shown, page
        assert f"{world.revision.short_sha} (v1) is live." in shown, page
    assert git_of(dashboard, world) == "out_of_sync"


def test_a_commit_that_waits_is_said_on_the_function_s_page(
    dashboard: Client, world: World
) -> None:
    """Held because new commits are not deployed by themselves, or refused."""
    Application.objects.update(status="out_of_sync", auto_deploy=False)
    page = text_of(dashboard, world.function.get_absolute_url())
    assert "has a newer commit that is not deployed." in page


@pytest.mark.parametrize(
    ("states", "health"),
    [
        ([Health.HEALTHY, Health.HEALTHY], Health.HEALTHY),
        ([Health.HEALTHY, Health.MISSING], Health.DEGRADED),
        ([Health.MISSING, Health.MISSING], Health.MISSING),
        ([Health.HEALTHY, Health.DEGRADED], Health.DEGRADED),
        ([Health.MISSING, Health.PROGRESSING], Health.PROGRESSING),
    ],
)
def test_an_application_is_the_same_in_the_list_and_on_its_page(
    dashboard: Client, world: World, states: list[Health], health: Health
) -> None:
    """It was "not serving" in the list, and "degraded, 3 of 4" on its page."""
    Function.objects.all().update(retired_at=timezone.now())
    for number, state in enumerate(states):
        one_of(world, f"/f{number}", state)
    (listed,) = dashboard.get(reverse("applications")).context["rows"]
    shown = dashboard.get(world.application.get_absolute_url())
    assert listed["health"] == shown.context["health"] == health
    working = sum(state != Health.MISSING for state in states)
    if Health.PROGRESSING not in states:
        assert f"{working} of 2 functions are live" in shown.content.decode()


def test_the_list_is_filtered_by_what_it_shows(dashboard: Client, world: World) -> None:
    found = {"synced": 1, "out_of_sync": 0, "progressing": 0, "unreachable": 0}
    assert listed(dashboard, found) == found
    make_build(
        world.function,
        make_sync(world.application, world.revision),
        state=State.QUEUED,
        finished_at=None,
    )
    assert listed(dashboard, found) == {**found, "synced": 0, "progressing": 1}
    Build.objects.filter(state=State.QUEUED).update(state=State.FAILED)
    assert listed(dashboard, found) == {**found, "synced": 0, "out_of_sync": 1}
    Application.objects.update(poll_error="It cannot be reached.")
    assert listed(dashboard, found) == {**found, "synced": 0, "unreachable": 1}


def one_of(world: World, path: str, health: Health) -> None:
    """A function of the application in this health."""
    function = Function.objects.create(
        application=world.application, namespace="alice", path=path
    )
    sync = make_sync(world.application, world.revision)
    if health in {Health.HEALTHY, Health.DEGRADED}:
        make_deployment(make_build(function, sync))
    state = {
        Health.HEALTHY: State.SUCCEEDED,
        Health.PROGRESSING: State.QUEUED,
    }.get(health, State.FAILED)
    if health != Health.HEALTHY:
        make_build(function, make_sync(world.application, world.revision), state=state)


def pages_of(world: World) -> list[str]:
    lists = [reverse("overview"), reverse("functions")]
    own = [world.application.get_absolute_url(), world.function.get_absolute_url()]
    return [*lists, *own]


def text_of(client: Client, page: str) -> str:
    """The words of a page, without its markup."""
    body = client.get(page).content.decode()
    words = "".join(part.partition(">")[2] for part in body.split("<"))
    return " ".join(words.split())


def git_of(client: Client, world: World) -> Any:
    (row,) = client.get(reverse("applications")).context["rows"]
    shown = client.get(world.application.get_absolute_url()).context["application"]
    assert row["application"].git == shown.git
    return shown.git


def listed(client: Client, filters: dict[str, int]) -> dict[str, int]:
    address = reverse("applications")
    return {
        name: len(client.get(address, {"status": name}).context["rows"])
        for name in filters
    }
