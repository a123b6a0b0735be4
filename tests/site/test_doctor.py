"""`manage.py doctor`: the door of server functions' sandboxes, and what waits."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from applications.models import Sync
from applications.work import WorkQuerySet
from builds.models import Build
from tests.builds.conftest import make_build
from zerverless_site import health


def test_a_door_that_was_not_compiled_is_a_problem_and_what_to_do_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert health.door().ok
    monkeypatch.setattr(health, "PROGRAM", Path("/no/door"))
    missing = health.door()
    assert not missing.ok
    assert "scripts/door" in missing.hint


@pytest.mark.django_db
def test_the_oldest_waiting_work_is_told_and_is_a_problem_when_it_is_held_up() -> None:
    """Threat 126: a push waited six minutes behind a build, and all was "well"."""
    Sync.objects.all().delete()
    assert [(check.ok, check.summary) for check in health.lines()] == [
        (True, "none")
    ] * 2
    behind, before = make_build(path="/behind"), make_build(path="/before")
    Build.objects.claim(before.pk, slot=0)
    syncs, builds = health.lines()
    assert syncs.ok
    assert builds.ok
    assert f"1, the oldest for 0 s: {behind}" in builds.summary
    rows: dict[str, tuple[WorkQuerySet, timedelta]] = {
        "syncs": (Sync.objects.all(), health.SYNC_WAITS_MAX),
        "builds": (Build.objects.filter(pk=behind.pk), health.BUILD_WAITS_MAX),
    }
    for waiting, most in rows.values():
        waiting.update(queued_at=timezone.now() - most - timedelta(seconds=1))
    syncs, builds = health.lines()
    assert not syncs.ok
    assert "2, the oldest for 2 min: sync" in syncs.summary
    assert syncs.hint == "Nothing runs: look at the workers."
    assert not builds.ok
    assert f"1, the oldest for 5 min: {behind}" in builds.summary
    assert f"Longest running, for 0 s: {before}" in builds.hint
