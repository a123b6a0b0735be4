"""What functions answered in the last hour or day, added up from stored minutes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db.models import QuerySet, Sum

from runtime import histogram
from runtime.models import TrafficMinute

_SUMS = (
    *("requests", "redirects", "client_errors", "function_errors", "platform_errors"),
    *("cold_starts", "cold_seconds", "seconds"),
)
_FIELDS = ("minute", "durations", *_SUMS)


@dataclass(frozen=True)
class Window:
    """A stretch of time that ends now, cut into slots. Minutes."""

    name: str
    words: str  # the last …
    start: str
    length: int
    slot: int

    @property
    def unit(self) -> str:
        """What counts are counted in, on the scale and in the words of a chart."""
        return "per minute" if self.slot == 1 else f"per {self.slot} min"

    def first_minute(self, now: int) -> int:
        """Where the first slot begins; slots begin at whole multiples of their length,
        and the minute that has not ended belongs to none."""
        return ((now - 1) // self.slot + 1) * self.slot - self.length


HOUR = Window("hour", "hour", "60 min ago", 60, 1)
DAY = Window("day", "24 hours", "24 h ago", 24 * 60, 15)
WINDOWS = {window.name: window for window in (HOUR, DAY)}
# An hour again, small enough for a cell of a table.
BRIEF = Window("brief", "hour", "60 min ago", 60, 2)


@dataclass
class Tally:
    """Some minutes of traffic together; `minute` is the first, counted from 1970."""

    minute: int
    minutes: int
    requests: int = 0
    redirects: int = 0
    client_errors: int = 0
    function_errors: int = 0
    platform_errors: int = 0
    cold_starts: int = 0
    cold_seconds: float = 0.0
    seconds: float = 0.0
    durations: list[int] = field(default_factory=lambda: [0] * histogram.SIZE)

    def add(self, row: dict[str, Any]) -> None:
        """Add a stored row's values."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + row[name])
        if durations := row.get("durations"):
            self.durations = histogram.total([self.durations, durations])

    @property
    def errors(self) -> int:
        """What went wrong on our side of the wire: the function's and ours."""
        return self.function_errors + self.platform_errors

    @property
    def error_share(self) -> float:
        """Errors among requests, from 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def rate(self) -> float:
        """Requests a minute."""
        return self.requests / self.minutes

    @property
    def p50(self) -> float | None:
        """Seconds within which half of the requests were answered."""
        return histogram.quantile(self.durations, 0.5)

    @property
    def p95(self) -> float | None:
        """Seconds within which nineteen of twenty were."""
        return histogram.quantile(self.durations, 0.95)

    @property
    def cold_mean(self) -> float | None:
        """Seconds a cold start took, on average."""
        return self.cold_seconds / self.cold_starts if self.cold_starts else None


class History:
    """The slots of a window in order, and all of them together."""

    def __init__(self, window: Window, now: int | None = None) -> None:
        self.window = window
        self._end = int(time.time() // 60) if now is None else now
        self._first = window.first_minute(self._end)
        self.slots = [
            Tally(minute, min(window.slot, self._end - minute))
            for minute in range(self._first, self._end, window.slot)
        ]

    def add(self, row: dict[str, Any]) -> None:
        """Add a stored row's values to the slot of its minute."""
        self.slots[(row["minute"] - self._first) // self.window.slot].add(row)

    @cached_property
    def whole(self) -> Tally:
        """All slots together; read it when everything is in them."""
        whole = Tally(self._first, self._end - self._first)
        for slot in self.slots:
            whole.add(vars(slot))
        return whole

    @property
    def fact(self) -> tuple[object, ...]:
        """What decides whether a chart of it looks different now."""
        moment = self._end if self.whole.requests or self.whole.cold_starts else 0
        return (self.window.name, moment, self.whole.requests, self.whole.errors)

    def rows(self) -> QuerySet[TrafficMinute]:
        """Every stored minute of the window."""
        return TrafficMinute.objects.filter(
            minute__gte=self._first, minute__lt=self._end
        ).order_by()


def of_function(function_id: int, window: Window) -> History:
    """One function's; one query."""
    history = History(window)
    for row in history.rows().filter(function=function_id).values(*_FIELDS):
        history.add(row)
    return history


def of_functions(function_ids: Iterable[int]) -> dict[int, History]:
    """The last hour of each of some functions; one query."""
    found = {pk: History(BRIEF) for pk in function_ids}
    rows = History(BRIEF).rows().filter(function__in=list(found))
    for row in rows.values("function", *_FIELDS):
        found[row["function"]].add(row)
    return found


def of_everything() -> History:
    """The last hour of all functions together, without durations; one query."""
    history = History(HOUR)
    sums = {f"all_{name}": Sum(name) for name in _SUMS}
    for row in history.rows().values("minute").annotate(**sums):
        history.add({name.removeprefix("all_"): value for name, value in row.items()})
    return history
