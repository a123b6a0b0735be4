"""What a soak has shown: figures, what was lost, and what nobody can explain."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from statistics import median
from typing import Any

from benchmarks.endurance import Rows, figures, keep, summary
from tests.fixtures.census import Census
from tests.fixtures.chaos import Chaos
from tests.fixtures.load import Failure, Load

# Of connections that are kept: more may be open when threads have worked.
_DESCRIPTORS = 8
# MiB: threads that are started when they are first needed have memory of their own.
_GROWTH = 10.0


@dataclasses.dataclass
class Report:
    """The results of one run; `memory` has a row of MiB for each program, and one of
    the seconds at which they were taken, counted from `began`."""

    loads: dict[str, Load]
    again: list[Load]  # after all of it, in peace
    before: Census
    after: Census
    chaos: Chaos
    memory: dict[str, list[float]]
    began: float
    pushes: int
    gone: int  # clients that went away

    def write(self) -> int:
        """Keep it; 1 where something is wrong."""
        lost, unexplained = self.lost, self.unexplained
        details = {
            **{name: figures(load) for name, load in self.loads.items()},
            "kills": self.chaos.kills,
            "gateway_away": _lengths(self.chaos.gateway_away),
            "engine_away": _lengths(self.chaos.engine_away),
            "lost": lost,
            "unexplained": [one.what for one in unexplained],
            "before": dataclasses.asdict(self.before),
            "after": dataclasses.asdict(self.after),
            "growth": self.growth,
            "memory": self.memory,
        }
        keep("soak", self._rows(), details)
        print(*lost, *unexplained[:20], sep="\n", file=sys.stderr)
        return 1 if lost or unexplained else 0

    @property
    def lost(self) -> list[str]:
        grown = [
            f"memory of {name}: {amount:+} MiB"
            for name, amount in self.growth.items()
            if amount > _GROWTH
        ]
        return self.after.lost(self.before, _DESCRIPTORS) + grown

    @property
    def failures(self) -> list[Failure]:
        return [one for load in self.loads.values() for one in load.tally.failures]

    @property
    def unexplained(self) -> list[Failure]:
        in_peace = [one for load in self.again for one in load.tally.failures]
        return self.chaos.unexplained(self.failures) + in_peace

    @property
    def growth(self) -> dict[str, float]:
        """How much more memory each program has at the end than soon after the last
        kill of the gateway, in MiB; medians of a minute each."""
        times = self.memory["seconds"]
        last = max((end for _, end in self.chaos.gateway_away), default=self.began)
        first = last - self.began + 30
        early = [n for n, at in enumerate(times) if first <= at < first + 60]
        late = [n for n, at in enumerate(times) if at >= times[-1] - 60]
        return {
            name: round(_middle(row, late) - _middle(row, early), 1)
            for name, row in self.memory.items()
            if name != "seconds" and early
        }

    def _rows(self) -> Rows:
        tallies = {name: summary(load.tally) for name, load in self.loads.items()}
        gateway, later = self.before.programs["gateway"], self.after.programs["gateway"]
        return {
            "requests to a server function": tallies["warm"],
            "to one that is paused between them": tallies["rare"],
            "to one with a container for each": tallies["once"],
            "killed": _counts(self.chaos.kills),
            "pushes meanwhile": str(self.pushes),
            "clients that left before their answer": str(self.gone),
            "failed": _counts(Counter(one.what for one in self.failures)),
            "not explained": str(len(self.unexplained)),
            "seconds without a gateway after a kill": _range(self.chaos.gateway_away),
            "lost": "; ".join(self.lost) or "nothing",
            "descriptors of the gateway": f"{gateway.descriptors}, {later.descriptors}",
            "memory before and after, MiB": ", ".join(
                f"{name} {self.before.programs[name].memory:.0f} {found.memory:.0f}"
                for name, found in self.after.programs.items()
            ),
            "growth from the last kill of the gateway to the end, MiB": ", ".join(
                f"{name} {amount:+.1f}" for name, amount in self.growth.items()
            ),
        }


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.items()) or "none"


def _lengths(times: list[tuple[float, float]]) -> list[float]:
    return [round(end - began, 2) for began, end in times]


def _range(times: list[tuple[float, float]]) -> str:
    found: list[Any] = sorted(_lengths(times))
    return f"{found[0]} to {found[-1]}" if found else "none"


def _middle(row: list[float], chosen: list[int]) -> float:
    return median(row[number] for number in chosen) if chosen else 0.0
