"""A deployment every few seconds under load: `python -m benchmarks.turnover`.

Every deployment is a push: commit, Sync now, build, trial, activation. No request may
fail, and no answer may be of an older version than the one before it on its connection.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median
from time import monotonic, sleep

from benchmarks.client import until
from benchmarks.endurance import figures, keep, server, summary
from benchmarks.platform import Platform
from tests.fixtures.load import Load

KEYS = ", port: 8080, memory: 32Mi, instances: {max: 4}"
NAME = "turning"
LATE = 60.0  # seconds until the last deployment has to answer


def main() -> int:
    """Measure; 1 where a request failed or a deployment did not come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, default=12)
    parser.add_argument("--every", type=float, default=5.0, help="seconds")
    parser.add_argument("--rate", type=float, default=200.0, help="requests/s")
    options = parser.parse_args()
    platform = Platform()
    try:
        platform.deploy(NAME, server(1), KEYS)
        platform.get(f"/bench/{NAME}")
        port = platform.stack.port
        load = Load(port, f"/bench/{NAME}", connections=8, rate=options.rate)
        pushed = _push_all(platform, load, options.deployments, options.every)
    finally:
        platform.stop()
    return _report(load, pushed, options.every, options.rate)


def _push_all(
    platform: Platform, load: Load, deployments: int, every: float
) -> list[float]:
    """Push one version after the other under the load; when each was pushed."""
    pushed = []
    with load.running() as tally:
        until(lambda: tally.answered > 200)
        for number in range(deployments):
            began = monotonic()
            platform.commit(NAME, server(number + 2), KEYS)
            pushed.append(monotonic())
            platform.dashboard.sync(f"bench/{NAME}")
            sleep(max(0.0, began + every - monotonic()))
        until(lambda: deployments + 1 in tally.revisions, LATE)
        sleep(1)
    return pushed


def _report(load: Load, pushed: list[float], every: float, rate: float) -> int:
    tally = load.tally
    seen = sorted(tally.revisions)
    live = [
        round(tally.first_at[number + 2] - at, 2)
        for number, at in enumerate(pushed)
        if number + 2 in tally.first_at
    ]
    rows = {
        f"{len(pushed)} pushes, one every {every:g} s, at {rate:g} requests/s": summary(
            tally
        ),
        "versions that answered, in order on every connection": str(len(seen)),
        "from the push to the first answer of the new version": (
            f"median {median(live):.2f} s, at most {max(live):.2f} s"
        ),
    }
    details = {**figures(load), "push_to_answer": live, "versions": seen}
    keep("turnover", rows, details)
    for failure in tally.failures[:20]:
        print(failure, file=sys.stderr)
    return 1 if tally.failures or len(seen) != len(pushed) + 1 else 0


if __name__ == "__main__":
    sys.exit(main())
