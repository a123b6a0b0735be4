"""What every function answered and how long it took, counted in the gateway's memory.

`observe` runs for every request, so it does next to nothing and takes no lock. That
loses nothing, because:

- One thread, the gateway's event loop, writes the numbers of a function, so no two
  threads ever read the same number and both write it back one larger.
- The numbers only grow and are never taken away or set back. Whoever reads (the thread
  that writes minutes, a scrape) copies them and remembers what the last copy said: the
  difference is what happened between. What a copy misses is in the next one.
- A copy of a list or a dictionary is one step of the interpreter, during which no other
  thread runs. A request that is being counted meanwhile may be in the copied histogram
  and not yet in the copied statuses; the next copy has it in both.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from runtime.errors import FunctionFailed, FunctionTimeout
from runtime.histogram import BOUNDS, SIZE
from runtime.route import Route
from runtime.routes import RouteTable


class Counts:
    """The numbers of one function since this process began to count it."""

    __slots__ = (
        "answers",
        "cold_buckets",
        "cold_seconds",
        "durations",
        "errors",
        "route",
        "seconds",
    )

    def __init__(self, route: Route) -> None:
        self.route = route
        self.durations = [0] * SIZE
        self.seconds = 0.0
        self.answers = [0] * 10  # the function's own, by the status's first digit
        self.errors: dict[str, int] = {}  # answered by us, by code
        self.cold_buckets = [0] * SIZE
        self.cold_seconds = 0.0

    def is_served(self, table: RouteTable | None) -> bool:
        """Whether it is among the routes in force, or nobody knows these yet."""
        route = table.at(self.route) if table is not None else self.route
        return route is not None and route.function_id == self.route.function_id

    def read(self) -> Reading:
        """The numbers as they are now; for any thread."""
        return Reading(
            self.durations.copy(),
            self.seconds,
            self.answers.copy(),
            self.errors.copy(),
            self.cold_buckets.copy(),
            self.cold_seconds,
        )


@dataclass(frozen=True)
class Reading:
    """Numbers of a function, of a moment or of the time between two. Seconds."""

    durations: list[int] = field(default_factory=lambda: [0] * SIZE)
    seconds: float = 0.0
    answers: list[int] = field(default_factory=lambda: [0] * 10)
    errors: dict[str, int] = field(default_factory=dict)
    cold_buckets: list[int] = field(default_factory=lambda: [0] * SIZE)
    cold_seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        return not any(self.durations) and not any(self.cold_buckets)

    @property
    def client_errors(self) -> int:
        """4xx of whoever gave it, and clients that went away unanswered."""
        refused = sum(self.errors.values()) - self.platform_errors - self.failures
        return self.answers[4] + self.answers[0] + refused

    @property
    def function_errors(self) -> int:
        """The function's own 5xx, what is no status at all, and its failures."""
        return sum(self.answers[5:]) + self.failures

    @property
    def failures(self) -> int:
        """Requests we answered because the function crashed, gave no answer in time
        or one that cannot be used."""
        return sum(n for code, n in self.errors.items() if is_functions(code))

    @property
    def platform_errors(self) -> int:
        """5xx that are the fault of neither, and 429: too many at once."""
        return sum(
            count
            for code, count in self.errors.items()
            if not is_functions(code)
            and ((status := status_of(code)) >= 500 or status == 429)
        )

    def since(self, earlier: Reading) -> Reading:
        """What was added after `earlier`."""
        return Reading(
            _minus(self.durations, earlier.durations),
            self.seconds - earlier.seconds,
            _minus(self.answers, earlier.answers),
            dict(Counter(self.errors) - Counter(earlier.errors)),
            _minus(self.cold_buckets, earlier.cold_buckets),
            self.cold_seconds - earlier.cold_seconds,
        )

    def plus(self, other: Reading) -> Reading:
        """Both together."""
        return Reading(
            _plus(self.durations, other.durations),
            self.seconds + other.seconds,
            _plus(self.answers, other.answers),
            dict(Counter(self.errors) + Counter(other.errors)),
            _plus(self.cold_buckets, other.cold_buckets),
            self.cold_seconds + other.cold_seconds,
        )


class Traffic:
    """The counts of every function that was called in this process."""

    def __init__(self) -> None:
        self._counts: dict[int, Counts] = {}  # by function

    def observe(
        self, route: Route, status: int, seconds: float, code: str = ""
    ) -> None:
        """Count a request that has ended: the status of its answer, 0 if there was
        none, and the time it took. `code` is that of our error, if the answer was
        ours and not the function's.
        """
        try:
            counts = self._counts[route.function_id]
        except KeyError:
            counts = self._begin(route)
        counts.durations[bisect_left(BOUNDS, seconds)] += 1
        counts.seconds += seconds
        if code:
            counts.errors[code] = counts.errors.get(code, 0) + 1
        else:
            counts.answers[status // 100] += 1

    def cold(self, route: Route, seconds: float) -> None:
        """Count a start that requests had to wait for, and how long it took."""
        counts = self._counts.get(route.function_id) or self._begin(route)
        counts.cold_buckets[bisect_left(BOUNDS, seconds)] += 1
        counts.cold_seconds += seconds

    def all(self) -> list[Counts]:
        """Every function's, in the order they were first called; for any thread."""
        return list(self._counts.values())

    def drop(self, counts: Counts) -> None:
        """Forget a function that is no longer served. One more request that is being
        counted meanwhile is in `counts`; a later one begins anew."""
        self._counts.pop(counts.route.function_id, None)

    def _begin(self, route: Route) -> Counts:
        return self._counts.setdefault(route.function_id, Counts(route))


def status_of(code: str) -> int:
    """The HTTP status of a platform error: 502 of `ZV502M`, 500 of what has none."""
    return int(code[2:5]) if code[2:5].isdecimal() else 500


def is_functions(code: str) -> bool:
    """Whether an error that we answered is the function's own fault."""
    return status_of(code) in {FunctionFailed.status, FunctionTimeout.status}


def _minus(left: list[int], right: list[int]) -> list[int]:
    return [one - other for one, other in zip(left, right, strict=True)]


def _plus(left: list[int], right: list[int]) -> list[int]:
    return [one + other for one, other in zip(left, right, strict=True)]
