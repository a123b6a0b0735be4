"""Counts by size: one set of bounds for every duration that is counted.

A histogram is a list of counts: one for each bound, of what took at most that long and
longer than the bound before, and a last one for what took longer than all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

# Seconds. Each is about twice the one before, so a quantile read between two of them
# is right within a few tens of per cent for a warm answer and for a slow one. Stored
# histograms depend on them: who changes them deletes the rows of TrafficMinute.
BOUNDS = (
    *(0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125),
    *(0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0),
)
SIZE = len(BOUNDS) + 1


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds that `share` (0 to 1) of what was counted took at most; None of nothing.

    Within a bucket the values are taken for evenly spread, as Prometheus does; what is
    above the last bound counts as that bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    below, lower = 0, 0.0
    for bound, count in zip(BOUNDS, counts, strict=False):
        if below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        below, lower = below + count, bound
    return BOUNDS[-1]


def total(histograms: Sequence[Sequence[int]]) -> list[int]:
    """All of them together."""
    return [sum(column) for column in zip(*histograms, strict=True)] or [0] * SIZE
