"""A sync's state is the state of all it caused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from applications.models import Function, Sync
from applications.work import State
from builds import outcome
from builds.models import Build
from tests.fixtures.pages import World, make_build, make_sync, make_world

ACTIVE: dict[str, Any] = {"finished_at": None}


@pytest.fixture
def world(pages: None) -> World:
    world = make_world()
    Build.objects.filter(pk=world.build.pk).update(sync=None)
    return world


def build_of(sync: Sync, path: str, state: str) -> Build:
    function, _ = Function.objects.get_or_create(
        application=sync.application, namespace="alice", path=path
    )
    running = State(state) in {State.QUEUED, State.RUNNING}
    return make_build(function, sync, state=state, **(ACTIVE if running else {}))


def ended(sync: Sync) -> outcome.Outcome:
    return outcome.of(outcome.with_builds(Sync.objects.all()).get(pk=sync.pk))


@pytest.mark.parametrize(
    ("own", "builds", "together", "words"),
    [
        ("queued", [], "queued", ""),
        ("failed", [], "failed", ""),
        ("succeeded", [], "succeeded", ""),
        ("succeeded", ["succeeded", "succeeded"], "succeeded", ""),
        ("succeeded", ["queued"], "running", ""),
        ("succeeded", ["running", "failed"], "running", "Of 2 builds: 1 failed."),
        ("succeeded", ["succeeded", "failed"], "failed", "Of 2 builds: 1 failed."),
        ("succeeded", ["cancelled"], "cancelled", "Of 1 build: 1 cancelled."),
        ("succeeded", ["errored", "cancelled"], "errored", "Of 2 builds: 1 c"),
        ("succeeded", ["errored", "failed"], "failed", "Of 2 builds: 1 errored, 1"),
        ("running", ["failed"], "running", "Of 1 build: 1 failed."),
    ],
)
@pytest.mark.parametrize("whose", ["own", "awaited"])
def test_the_worst_of_its_builds_decides(
    world: World, whose: str, own: str, builds: list[str], together: str, words: str
) -> None:
    """The builds it asked for, and those it found on their way: a list, a page and its
    title, and the activity all say the same."""
    sync = make_sync(world.application, world.revision, state=own)
    for number, state in enumerate(builds):
        caused = sync if whose == "own" else world.sync
        build = build_of(caused, f"/f{number}", state)
        if whose == "awaited":
            build.awaited_by.add(sync)
    assert ended(sync).state == together
    assert ended(sync).words.startswith(words)
    unfinished = Sync.objects.filter(outcome.unfinished())
    assert (sync in unfinished) == (together in {"queued", "running"})


def test_it_took_until_its_last_build_ended(world: World) -> None:
    sync = make_sync(world.application, world.revision)
    build = build_of(sync, "/f", State.SUCCEEDED)
    later = timezone.now() + timedelta(minutes=3)
    Build.objects.filter(pk=build.pk).update(finished_at=later)
    assert ended(sync).finished_at == later
    Build.objects.filter(pk=build.pk).update(finished_at=None, state=State.RUNNING)
    assert ended(sync).finished_at is None
    assert not ended(sync).is_final


def test_every_page_says_that_it_failed(dashboard: Client, world: World) -> None:
    """Green over a failed build was the worst of what the dashboard said."""
    sync = make_sync(world.application, world.revision)
    build_of(sync, "/good", State.SUCCEEDED)
    bad = build_of(sync, "/bad", State.RUNNING)
    activity = dashboard.get(reverse("activity"))
    assert ("Sync", sync.pk) in [
        (e.what, e.work.pk) for e in activity.context["active"]
    ]
    Build.objects.filter(pk=bad.pk).update(
        state=State.FAILED, finished_at=timezone.now(), error="No such package."
    )
    page = dashboard.get(sync.get_absolute_url()).content.decode()
    assert "<title>Failed · Sync of" in page
    assert "No such package." in page
    for address in (reverse("activity"), reverse("overview")):
        (entry,) = [
            entry
            for name in ("finished", "recent")
            for entry in dashboard.get(address).context.get(name, [])
            if (entry.what, entry.work.pk) == ("Sync", sync.pk)
        ]
        assert entry.work.state == State.FAILED
    shown = dashboard.get(world.application.get_absolute_url())
    (of_it,) = [o for row, o in shown.context["syncs"] if row.pk == sync.pk]
    assert of_it.state == State.FAILED
    assert "Of 2 builds: 1 failed." in shown.content.decode()
