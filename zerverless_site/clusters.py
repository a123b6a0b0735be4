"""The clusters of workers: two of the queue, builds apart, and the lane of Git work."""

from __future__ import annotations

from typing import Any

# The last reads its own tables (git_lane.py) and has no queue.
CONTROL, BUILDS, GIT = "control", "builds", "git"
ALL = (CONTROL, BUILDS, GIT)


def configuration(builds_at_once: int, build_seconds: int) -> dict[str, Any]:
    """The Q_CLUSTER setting.

    `timeout` lies above our own deadlines, `retry` above `timeout`: a task is delivered
    again only when its worker is gone. `max_attempts` and `ack_failures`: our rows
    decide about retries. Sweeps come from our own clock, not its scheduler.
    """
    return {
        "name": CONTROL,
        "orm": "default",
        "workers": 2,
        "timeout": 900,
        "retry": 1200,
        "queue_limit": 2,
        "bulk": 1,
        "poll": 0.5,
        "max_attempts": 1,
        "ack_failures": True,
        "scheduler": False,
        "recycle": 200,
        "max_rss": 300_000,
        "save_limit": 200,
        "cpu_affinity": 0,
        "label": "Queue",
        "ALT_CLUSTERS": {
            BUILDS: {
                "workers": builds_at_once,
                "queue_limit": builds_at_once,
                "timeout": build_seconds + 300,
                "retry": build_seconds + 600,
            },
        },
    }
