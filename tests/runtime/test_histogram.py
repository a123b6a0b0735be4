"""Buckets, and what is read between their bounds."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.histogram import BOUNDS, SIZE, quantile, total

SECONDS = st.floats(0.0001, 60)


def histogram(values: list[float]) -> list[int]:
    counts = [0] * SIZE
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    return counts


def test_the_bounds_reach_from_a_warm_answer_to_the_slowest() -> None:
    assert BOUNDS[0] == 0.00025
    assert BOUNDS[-1] == 60
    steps = [after / before for before, after in pairwise(BOUNDS)]
    assert all(1 < step <= 2.0 for step in steps)


def test_nothing_counted_has_no_quantile() -> None:
    assert quantile([0] * SIZE, 0.5) is None


def test_values_are_taken_for_evenly_spread_in_their_bucket() -> None:
    counts = histogram([0.3] * 10)  # all above 0.25, none above 0.5
    assert quantile(counts, 0.5) == pytest.approx(0.375)
    assert quantile(counts, 1.0) == pytest.approx(0.5)


def test_what_is_slower_than_every_bound_counts_as_the_last() -> None:
    assert quantile(histogram([1000.0]), 0.95) == 60


def test_a_bound_itself_is_within_its_bucket() -> None:
    """As in Prometheus: le is less or equal."""
    assert histogram([0.5]).index(1) == BOUNDS.index(0.5)


@given(st.lists(SECONDS, min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(
    values: list[float], share: float
) -> None:
    counts = histogram(values)
    found = quantile(counts, share)
    rank = max(0, -int(-share * len(values) // 1) - 1)
    true = sorted(values)[min(rank, len(values) - 1)]
    assert found is not None
    at = bisect_left(BOUNDS, true)
    lower = BOUNDS[at - 1] if at else 0.0
    assert lower <= found <= BOUNDS[at] * 1.0000001


@given(st.lists(SECONDS, max_size=30), st.lists(SECONDS, max_size=30))
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    together = total([histogram(one), histogram(other)])
    assert together == histogram([*one, *other])


def test_none_together_are_empty() -> None:
    assert total([]) == [0] * SIZE
