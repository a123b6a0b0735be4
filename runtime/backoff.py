"""How long a function that cannot be started is left alone."""

from __future__ import annotations

import math

from runtime.errors import InvocationError

FIRST = 0.5  # seconds after the first failure, doubled with each one that follows
MOST = 30.0
_FORGOTTEN = 2 * MOST


class Backoff:
    """Failures in a row of one deployment. `now` is the event loop's clock."""

    def __init__(self) -> None:
        self._failures = 0
        self._last = self._until = float("-inf")
        self._error: InvocationError | None = None

    def failed(self, error: InvocationError, now: float) -> None:
        """Note one more, and what to tell who asks until the next try."""
        if not self.is_over(now):
            return  # it was started together with the one that failed before
        if not self.remembers(now):
            self._failures = 0
        delay = min(FIRST * 2**self._failures, MOST)
        self._failures += 1
        self._last, self._until = now, now + delay
        self._error = error

    def crashed(self, error: InvocationError, now: float) -> None:
        """Note an instance that soon ended; the first time may be chance."""
        if self.remembers(now):
            self.failed(error, now)
        else:
            self._failures, self._last = 0, now

    def remembers(self, now: float) -> bool:
        """Whether the next failure would not be the first."""
        return now - self._last <= _FORGOTTEN

    def is_over(self, now: float) -> bool:
        return now >= self._until

    def error(self, now: float) -> InvocationError | None:
        """A copy of the last failure, with `retry_after` in whole seconds."""
        if self._error is None or self.is_over(now):
            return None
        return self._error.again(math.ceil(self._until - now))
