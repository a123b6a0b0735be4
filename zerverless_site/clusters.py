"""How the queue's two clusters work: one for everything, one for builds alone."""

from __future__ import annotations

from typing import Any


def configuration(builds_at_once: int, build_seconds: int) -> dict[str, Any]:
    """The Q_CLUSTER setting.

    `timeout` lies above our own deadlines, `retry` above `timeout`: a task is delivered
    again only when its worker is gone. `max_attempts` and `ack_failures`: our rows
    decide about retries. Polls and sweeps come from our own clock, not its scheduler.
    """
    return {
        "name": "control",
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
            "builds": {
                "workers": builds_at_once,
                "queue_limit": builds_at_once,
                "timeout": build_seconds + 300,
                "retry": build_seconds + 600,
            },
        },
    }
