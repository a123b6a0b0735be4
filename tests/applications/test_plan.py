"""The plan: what a commit declares against what is live, one change per path."""

from __future__ import annotations

from dataclasses import replace

import pytest

from applications.plan import Desired, Kind, Live, plan
from applications.spec import FunctionSpec

SPEC = FunctionSpec(path="/api", runtime="docker", dockerfile="Dockerfile", context=".")
SAME = Live("k1", SPEC.config())


@pytest.mark.parametrize(
    ("live", "kind"),
    [
        ({}, Kind.CREATE),
        ({"/api": None}, Kind.UPDATE),
        ({"/api": SAME}, Kind.KEEP),
        ({"/api": Live("k0", SPEC.config())}, Kind.UPDATE),
        ({"/api": Live("k1", replace(SPEC, timeout=7).config())}, Kind.UPDATE),
    ],
    ids=["new", "never served", "unchanged", "other files", "other settings"],
)
def test_one_function_against_what_serves(
    live: dict[str, Live | None], kind: Kind
) -> None:
    (change,) = plan([Desired(SPEC, "k1")], live)
    assert (change.kind, change.path) == (kind, "/api")
    assert change.reason


def test_what_the_manifest_no_longer_declares_is_retired() -> None:
    changes = plan([Desired(SPEC, "k1")], {"/api": SAME, "/old": SAME})
    assert [(c.path, c.kind) for c in changes] == [
        ("/api", Kind.KEEP),
        ("/old", Kind.RETIRE),
    ]


def test_the_plan_is_sorted_and_has_each_path_once() -> None:
    wanted = [Desired(replace(SPEC, path=path), "k") for path in ("/c", "/a", "/b")]
    changes = plan(wanted, {"/b": SAME, "/z": None})
    assert [change.path for change in changes] == ["/a", "/b", "/c", "/z"]


def test_a_plan_carried_out_leaves_nothing_to_do() -> None:
    wanted = [Desired(SPEC, "k1")]
    again = plan(wanted, {"/api": Live("k1", SPEC.config())})
    assert {change.kind for change in again} == {Kind.KEEP}
