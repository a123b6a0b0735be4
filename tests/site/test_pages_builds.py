"""The build page: the live log by cursor, its words, cancel."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from applications.work import State
from builds import transcript
from builds.models import Build
from tests.fixtures.pages import World, append, make_build, make_sync, make_world

HTMX = {"HX-Request": "true"}


@pytest.fixture
def world(pages: None) -> World:
    return make_world()


@pytest.fixture
def running(world: World) -> Build:
    """A newer build that is at it."""
    sync = make_sync(world.application, world.revision)
    return make_build(
        world.function,
        sync,
        ["#1 [1/2] FROM busybox", "#1 DONE 0.1s", "#2 [2/2] RUN make"],
        state=State.RUNNING,
        finished_at=None,
        slot=0,
    )


def poll(client: Client, build: Build, **cursor: Any) -> Any:
    return client.get(reverse("build_part", args=[build.pk]), cursor, headers=HTMX)


def test_new_lines_are_appended_to_the_step_they_belong_to(
    dashboard: Client, running: Build
) -> None:
    page = dashboard.get(running.get_absolute_url())
    seen = {"after": 3, "step": 3, "seen": page.context["version"]}
    assert poll(dashboard, running, **seen).status_code == 204
    append(running, ["#2 0.5 compiling", "#2 DONE 2.0s", "#3 exporting to image"])
    body = poll(dashboard, running, **seen).content.decode()
    assert 'hx-swap-oob="beforeend:#lines-3"' in body
    assert 'id="L4"' in body
    assert 'id="note-3" hx-swap-oob="true">2.0 s<' in body
    assert 'hx-swap-oob="beforeend:#steps"' in body
    assert 'id="step-6"' in body
    assert "after=6&amp;step=6" in body


def test_the_first_lines_of_all_begin_a_step(dashboard: Client, running: Build) -> None:
    running.chunks.all().delete()
    append(running, ["Context: 3 files"])
    body = poll(dashboard, running, after=0, step=0).content.decode()
    assert 'hx-swap-oob="beforeend:#steps"' in body
    assert "Preparing" in body


def test_a_finished_build_is_not_polled_any_more(
    dashboard: Client, running: Build
) -> None:
    assert "hx-get" in poll(dashboard, running, after=3).content.decode()
    Build.objects.filter(pk=running.pk).update(state=State.CANCELLED)
    body = poll(dashboard, running, after=3).content.decode()
    assert "hx-get" not in body
    assert 'data-title="Cancelled' in body


@pytest.mark.parametrize("cursor", ["", "-1", "x", "9" * 40, "²"])
def test_a_wrong_cursor_is_harmless(
    dashboard: Client, running: Build, cursor: str
) -> None:
    assert poll(dashboard, running, after=cursor, step=cursor).status_code == 200
    page = dashboard.get(running.get_absolute_url(), {"tail": cursor})
    assert page.status_code == 200


def test_a_long_log_opens_at_its_end(dashboard: Client, world: World) -> None:
    """Threat 90."""
    append(world.build, [f"line {number}" for number in range(5000)])
    page = dashboard.get(world.build.get_absolute_url())
    assert page.context["skipped"] == 4003
    assert page.content.count(b'<div id="L') == 1000
    assert b"line 4999" in page.content
    earlier = dashboard.get(world.build.get_absolute_url(), {"tail": "9999"})
    assert earlier.content.count(b'<div id="L') == 5003


def test_without_scripts_a_running_build_reloads_itself(
    dashboard: Client, world: World, running: Build
) -> None:
    refresh = b'<noscript><meta http-equiv="refresh"'
    assert refresh in dashboard.get(running.get_absolute_url()).content
    assert refresh not in dashboard.get(world.build.get_absolute_url()).content


def test_a_waiting_build_says_what_is_before_it(
    dashboard: Client, world: World, running: Build
) -> None:
    waiting = make_build(
        world.function,
        make_sync(world.application, world.revision),
        state=State.QUEUED,
        started_at=None,
        finished_at=None,
    )
    body = dashboard.get(waiting.get_absolute_url()).content.decode()
    assert "1 build before this one" in body
    assert "Queued · alice/api" in body


def test_a_failed_build_says_which_step_and_what_keeps_serving(
    dashboard: Client, running: Build
) -> None:
    Build.objects.filter(pk=running.pk).update(
        state=State.FAILED,
        error="pip could not find reqests.\nERROR: no matching distribution",
        failed_step="[2/2] RUN make",
    )
    body = dashboard.get(running.get_absolute_url()).content.decode()
    assert "pip could not find reqests." in body
    assert "[2/2] RUN make" in body
    assert "v1" in body
    assert "keeps serving" in body
    assert "Failed · alice/api" in body


def test_cancel_asks_once_and_says_so(dashboard: Client, running: Build) -> None:
    address = reverse("build_cancel", args=[running.pk])
    body = dashboard.post(address, follow=True).content.decode()
    assert "is being cancelled" in body
    running.refresh_from_db()
    assert running.cancelled_by == "ana"
    Build.objects.filter(pk=running.pk).update(state=State.CANCELLED)
    assert "had ended already" in dashboard.post(address, follow=True).content.decode()


def test_a_log_is_cut_into_steps() -> None:
    texts = [
        "Context: 3 files",
        "#1 [internal] load build definition",
        "#1 DONE 0.1s",
        "#2 [1/2] FROM busybox",
        "#2 CACHED",
        "#3 [2/2] RUN false",
        "#3 0.2 exporting nothing",
        "#3 ERROR: exit code: 1",
    ]
    steps = transcript.steps(enumerate(texts, 1))
    assert [(step.title, step.first, step.note) for step in steps] == [
        ("Preparing", 1, ""),
        ("[internal] load build definition", 2, "0.1 s"),
        ("[1/2] FROM busybox", 4, "cached"),
        ("[2/2] RUN false", 6, "failed"),
    ]
    assert steps[-1].is_failed


def test_the_classic_builders_steps_are_known_too() -> None:
    texts = ["Step 1/2 : FROM busybox", " ---> Using cache", "Step 2/2 : CMD true"]
    steps = transcript.steps(enumerate(texts, 1))
    assert [(step.title, step.note) for step in steps] == [
        ("1/2 : FROM busybox", "cached"),
        ("2/2 : CMD true", ""),
    ]


def test_a_build_about_to_go_live_is_still_looked_at(
    dashboard: Client, running: Build
) -> None:
    """The moment between the image and its deployment: polling must not end in it."""
    done = Build.objects.filter(pk=running.pk)
    done.update(state=State.SUCCEEDED, slot=None, finished_at=timezone.now())
    assert "every 1s" in dashboard.get(running.get_absolute_url()).content.decode()
    done.update(finished_at=timezone.now() - timedelta(minutes=1))
    assert "every 1s" not in dashboard.get(running.get_absolute_url()).content.decode()
