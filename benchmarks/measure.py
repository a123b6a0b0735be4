"""Medians of repeated runs, ours and the reference in turn: machines here are noisy."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.resources import busy

_LOOK = 0.3  # seconds
_BUSY = 0.2  # of all processors


@dataclass(frozen=True)
class Figure:
    """One measured thing; `reference` is empty where there is nothing to compare."""

    name: str
    unit: str
    about: str
    ours: list[float]
    reference: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of the reference."""
        if not self.reference:
            return None
        return statistics.median(self.ours) / statistics.median(self.reference)

    def as_dict(self) -> dict[str, Any]:
        """What stands in benchmarks/latest.json."""
        return {
            "ours": _rounded(statistics.median(self.ours)),
            "reference": _rounded(statistics.median(self.reference))
            if self.reference
            else None,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "unit": self.unit,
            "runs": len(self.ours),
            "spread": _spread(self.ours),
            "reference_spread": _spread(self.reference) if self.reference else None,
            "about": self.about,
        }


def _spread(values: list[float]) -> list[float]:
    return [_rounded(min(values)), _rounded(max(values))]


def _rounded(value: float) -> float:
    return round(value, 3) if abs(value) < 1000 else round(value)


def quiet(patience: float = float(os.environ.get("PATIENCE", "10"))) -> None:
    """Wait until the machine has little else to do, at most so many seconds."""
    deadline = time.monotonic() + patience
    while busy(_LOOK) > _BUSY and time.monotonic() < deadline:
        pass


def seconds(work: Callable[[], object]) -> float:
    """How long one call took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def milliseconds(work: Callable[[], object]) -> float:
    """The same, in milliseconds."""
    return 1000 * seconds(work)


def alternate(
    runs: int,
    ours: Callable[[], float],
    reference: Callable[[], float],
    pace: float = 0.0,
) -> tuple[list[float], list[float]]:
    """Run both in turn, so that a slow minute of the machine meets both.

    `pace` is the least number of seconds from one beginning to the next.
    """
    quiet()
    measured: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for values, work in zip(measured, (ours, reference), strict=True):
            began = time.perf_counter()
            values.append(work())
            time.sleep(max(0.0, pace - (time.perf_counter() - began)))
    return measured
