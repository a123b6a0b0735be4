"""Medians of repeated runs, ours and the reference in turn: machines here are noisy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured thing; `reference` is empty where there is nothing to compare."""

    name: str
    unit: str
    about: str
    ours: list[float]
    reference: list[float]

    @property
    def ratio(self) -> float | None:
        """Median of ours over median of the reference."""
        if not self.reference:
            return None
        return statistics.median(self.ours) / statistics.median(self.reference)

    def as_dict(self) -> dict[str, Any]:
        """What stands in benchmarks/latest.json."""
        return {
            "ours": round(statistics.median(self.ours), 3),
            "reference": round(statistics.median(self.reference), 3)
            if self.reference
            else None,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "unit": self.unit,
            "runs": len(self.ours),
            "spread": [round(min(self.ours), 3), round(max(self.ours), 3)],
            "about": self.about,
        }


def seconds(work: Callable[[], object]) -> float:
    """How long one call took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(
    runs: int, ours: Callable[[], float], reference: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Run both in turn, so that a slow minute of the machine meets both."""
    pairs = [(ours(), reference()) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
