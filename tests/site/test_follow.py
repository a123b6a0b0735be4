"""`--wait` follows the commit, whoever built it last."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from applications.work import State
from tests.fixtures.pages import World, make_build, make_deployment, make_sync
from tests.fixtures.pages import make_world as _make_world
from zerverless_site import follow

FAILED: dict[str, Any] = {"state": State.FAILED, "error": "No such package."}


@pytest.fixture
def world(pages: None) -> World:
    return _make_world()


@pytest.mark.parametrize("again", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_another_build_of_the_same_commit_decides(world: World, again: State) -> None:
    """A repair or a second *Sync now* built the commit anew after it had failed."""
    first = make_sync(world.application, world.revision)
    make_build(world.function, first, **FAILED)
    later = make_build(
        world.function, make_sync(world.application, world.revision), state=again
    )
    if again == State.SUCCEEDED:
        make_deployment(later)
    told: list[str] = []
    assert follow.follow(first, told.append, 5) == (again == State.SUCCEEDED)
    assert any(line.startswith(f"{later}: {again}") for line in told)


def test_the_result_names_the_state_of_all_of_it(world: World) -> None:
    sync = make_sync(world.application, world.revision)
    make_build(world.function, sync, **FAILED)
    found = follow.result(world.application, sync)
    assert (found["state"], found["builds"][0]["error"]) == (
        "failed",
        "No such package.",
    )


def test_a_commit_whose_build_failed_is_no_success_for_a_script(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, as docs/cli.md says."""
    sync = make_sync(world.application, world.revision)
    make_build(world.function, sync, **FAILED)
    monkeypatch.setattr("zerverless_site.pipeline.request_sync", lambda *_: sync)
    with pytest.raises(CommandError) as stopped:
        call_command("sync_application", str(world.application), "--wait")
    assert stopped.value.returncode == 3
    assert f"{sync}: failed" in capsys.readouterr().out
