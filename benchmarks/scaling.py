"""From one instance to four under load: `python -m benchmarks.scaling`.

The function takes one request at a time, each for 20 ms. One caller has one instance
busy, sixteen want more: no request may fail while these start.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from time import monotonic, sleep

from benchmarks.client import until
from benchmarks.endurance import figures, keep, server, summary
from benchmarks.platform import Platform
from tests.fixtures.load import Load, Tally

KEYS = ", port: 8080, memory: 32Mi, concurrency: 1, instances: {max: 4}"
PATH = "/bench/growing"
SLOW = "/wait/20"
_ONE = 5.0  # seconds with one caller
_MANY = 20.0
_LOOK = 0.25


def main() -> int:
    """Measure; 1 where a request failed or the instances did not come."""
    platform = Platform()
    try:
        platform.deploy("growing", server(1), KEYS)
        platform.get(PATH + SLOW)
        one = Load(platform.stack.port, PATH, connections=1, below=SLOW)
        with one.running() as alone:
            until(lambda: alone.answered > 10)
            (slow, *_) = _rates(alone, _ONE, every=_ONE)
        many = Load(platform.stack.port, PATH, connections=16, below=SLOW)
        with many.running() as tally:
            rates = _rates(tally, _MANY, _LOOK)
    finally:
        platform.stop()
    fast = max(rates)
    # Half a second in a row: one look alone may have been late.
    pairs = pairwise(rates)
    number = next((n for n, pair in enumerate(pairs) if min(pair) > 3 * slow), None)
    rows = {
        "sixteen callers, after one": summary(tally),
        "answers a second, one instance and four": f"{slow:.0f}, {fast:.0f}",
        "from the first of the callers to three times the answers of one": (
            "never" if number is None else f"{(number + 1) * _LOOK:.2f} s"
        ),
    }
    keep("scaling", rows, {**figures(many), "rates": [round(r) for r in rates]})
    failures = alone.failures + tally.failures
    print(*failures[:20], sep="\n", file=sys.stderr)
    return 1 if failures or number is None else 0


def _rates(tally: Tally, seconds: float, every: float) -> list[float]:
    """Answers a second, looked at so often."""
    rates = []
    began = then = monotonic()
    before = tally.answered
    while monotonic() - began < seconds:
        sleep(every)
        now, answered = monotonic(), tally.answered
        rates.append((answered - before) / (now - then))
        then, before = now, answered
    return rates


if __name__ == "__main__":
    sys.exit(main())
