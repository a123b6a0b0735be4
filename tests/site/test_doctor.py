"""`manage.py doctor`: what it says of the door of server functions' sandboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerverless_site import health


def test_a_door_that_was_not_compiled_is_a_problem_and_what_to_do_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert health.door().ok
    monkeypatch.setattr(health, "PROGRAM", Path("/no/door"))
    missing = health.door()
    assert not missing.ok
    assert "scripts/door" in missing.hint
