"""What the figures are to be: issue 3, "What must be shown"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A bound for a figure's ratio, or for the figure itself."""

    bound: float
    of: str = "ratio"  # or "ours"
    is_most: bool = True  # otherwise the least

    def __str__(self) -> str:
        sign = "≤" if self.is_most else "≥"
        return f"{self.of} {sign} {self.bound:.3g}"

    def is_met(self, figure: dict[str, object]) -> bool:
        """Whether a figure of latest.json is within it."""
        value = figure[self.of]
        assert isinstance(value, int | float)
        return value <= self.bound if self.is_most else value >= self.bound


def at_most(bound: float, of: str = "ratio") -> Goal:
    return Goal(bound, of)


def at_least(bound: float, of: str = "ratio") -> Goal:
    return Goal(bound, of, is_most=False)


GOALS = {
    "oneshot_busybox": at_most(1 / 12),
    "oneshot_scratch": at_most(1 / 12),
    "oneshot_python": at_most(1 / 5),
    "oneshot_pool_empty": at_most(0.6),
    "oneshot_burst": at_most(1),
    "oneshot_rate": at_least(0.9),
    "warm_rps_c8": at_least(0.5),
    "warm_rps_c32": at_least(0.5),
    "warm_p50_c1": at_most(0.35, "ours"),
    "warm_p99_c32": at_most(3),
    "dashboard_beside": at_most(1.5),
    "body_1mb": at_least(0.5),
    "body_1mb_up": at_least(0.5),
    "body_1mb_down": at_least(0.5),
    "body_100mb": at_least(0.5),
    "body_100mb_up": at_least(0.5),
    "body_100mb_down": at_least(0.5),
    "cold_server": at_most(1.3),
    "cold_server_python": at_most(1.3),
    "cold_server_egress": at_most(1.3),
    "resume": at_most(25, "ours"),
    "scale_1_to_4": at_most(0, "ours"),
    "routes_10000": at_most(1.1),
    "routes_10000_rps": at_least(0.9),
}
