"""Lists: filters, search and pages that stay right while rows come and go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from applications.models import Function, Sync
from applications.work import State
from builds.models import Build
from runtime import serving
from runtime.models import Invocation
from runtime.serving import Health
from tests.fixtures.pages import (
    World,
    make_build,
    make_invocation,
    make_sync,
    make_world,
)
from zerverless_site.activity import Entry


def newest_build_is(world: World, state: State) -> None:
    make_build(
        world.function, make_sync(world.application, world.revision), state=state
    )


def never_deployed(world: World) -> None:
    world.invocation.delete()
    world.deployment.delete()


@pytest.mark.parametrize(
    ("state", "serving_now", "health"),
    [
        (State.SUCCEEDED, "v1", Health.HEALTHY),
        (State.CANCELLED, "v1", Health.DEGRADED),
        (State.QUEUED, "v1", Health.PROGRESSING),
        (State.QUEUED, "nothing", Health.PROGRESSING),
        (State.FAILED, "v1", Health.DEGRADED),
        (State.ERRORED, "v1", Health.DEGRADED),
        (State.FAILED, "nothing", Health.MISSING),
    ],
)
def test_health_follows_from_what_serves_and_the_newest_build(
    pages: None, state: State, serving_now: str, health: Health
) -> None:
    world = make_world()
    newest_build_is(world, state)
    if serving_now == "nothing":
        never_deployed(world)
    assert serving.counts() == {health: 1}
    assert serving.overall(serving.counts()) == health


def test_functions_are_filtered_by_health_and_found_by_address(
    dashboard: Client,
) -> None:
    healthy, broken = make_world("/healthy"), make_world("/broken")
    newest_build_is(broken, State.FAILED)
    degraded = dashboard.get(reverse("functions"), {"health": "degraded"}).content
    assert b"/alice/broken" in degraded
    assert b"/alice/healthy" not in degraded
    found = dashboard.get(reverse("functions"), {"q": "health"}).content
    assert healthy.function.url_path.encode() in found
    assert b"/alice/broken" not in found
    nothing = dashboard.get(reverse("functions"), {"q": "nope"}).content
    assert b"Clear the filter" in nothing


def test_the_overview_names_what_needs_attention(dashboard: Client) -> None:
    broken = make_world("/broken")
    newest_build_is(broken, State.FAILED)
    Build.objects.filter(state=State.FAILED).update(error="No such package.\nmore")
    body = dashboard.get(reverse("overview")).content.decode()
    said = "failed to build</a>: No such package. <code>0000000</code> (v1) is live."
    assert said in " ".join(body.split())
    assert "?health=degraded" in body


def test_activity_is_read_back_page_by_page(dashboard: Client) -> None:
    world = make_world()
    for minutes in range(60):
        at = timezone.now() - timedelta(minutes=minutes)
        make_sync(world.application, world.revision, finished_at=at)
    first = dashboard.get(reverse("activity"))
    assert len(first.context["finished"]) == 50
    rest = dashboard.get(
        reverse("activity"), {"before": first.context["older"].isoformat()}
    )
    seen = [entry.fact for entry in first.context["finished"]]
    assert not {entry.fact for entry in rest.context["finished"]} & set(seen)
    assert rest.context["older"] is None


@pytest.mark.parametrize("before", ["x", "2026-99-99T00:00:00Z", "2026-01-01T00:00:00"])
def test_a_wrong_moment_shows_the_newest(dashboard: Client, before: str) -> None:
    make_world()
    page = dashboard.get(reverse("activity"), {"before": before})
    assert page.context["before"] is None


def test_what_runs_comes_before_what_waits(dashboard: Client) -> None:
    world = make_world()
    newest_build_is(world, State.QUEUED)
    Sync.objects.filter(pk=world.sync.pk).update(state=State.RUNNING)
    shown = [(entry.what, entry.work.state) for entry in page_of_activity(dashboard)]
    running = ("Sync", State.RUNNING)  # the second one because its build waits
    assert shown == [running, running, ("Build", State.QUEUED)]


def page_of_activity(dashboard: Client) -> list[Entry]:
    return list(dashboard.get(reverse("activity")).context["active"])


def test_invocations_come_in_pages_with_their_standard_error(
    dashboard: Client,
) -> None:
    world = make_world()
    for number in range(30):
        make_invocation(world.deployment, f"said {number}")
    address = world.function.get_absolute_url()
    first = dashboard.get(address).content.decode()
    assert first.count("<details id=") == 20
    assert "said 29" in first
    older = dashboard.get(address, {"page": 2}).content.decode()
    assert older.count("<details id=") == Invocation.objects.count() - 20
    assert dashboard.get(address, {"page": "x"}).status_code == 200


def test_a_retired_function_keeps_its_history_and_a_new_one_its_address(
    dashboard: Client,
) -> None:
    old = make_world()
    Function.objects.update(retired_at=timezone.now())
    address = old.function.get_absolute_url()
    assert b"no longer in the manifest" in dashboard.get(address).content
    new = make_world()
    assert dashboard.get(address).context["function"].pk == new.function.pk


def test_the_root_path_of_a_namespace_has_a_page_too(dashboard: Client) -> None:
    world = make_world("/")
    assert world.function.get_absolute_url() == "/-/functions/alice/"
    assert dashboard.get("/-/functions/alice/").status_code == 200


def test_the_address_of_a_function_is_the_functions_hosts(
    dashboard: Client, settings: object
) -> None:
    settings.ZERVERLESS_BASE_URL = "http://zv.example:8000"  # type: ignore[attr-defined]
    settings.ZERVERLESS_FUNCTIONS_HOST = "run.example"  # type: ignore[attr-defined]
    address = make_world().function.get_absolute_url()
    page = dashboard.get(address).content.decode()
    assert "curl http://run.example:8000/alice/api" in page
    settings.ZERVERLESS_FUNCTIONS_HOST = "*.run.example"  # type: ignore[attr-defined]
    page = dashboard.get(address).content.decode()
    assert "curl http://alice.run.example:8000/api" in page
    settings.ZERVERLESS_FUNCTIONS_HOST = ""  # type: ignore[attr-defined]
    settings.ZERVERLESS_BASE_URL = "http://127.0.0.1:8000"  # type: ignore[attr-defined]
    page = dashboard.get(address).content.decode()
    assert "curl http://127.0.0.1:8000/alice/api" in page
    assert 'href="http://alice.localhost:8000/api"' in page
