"""Every metric by name: its labels and what it means; also what docs/metrics.md says.

Names and units follow Prometheus: base units, `_total` for what only grows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric as it is documented; `name` without the prefix `zerverless_`."""

    name: str
    kind: str
    about: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        return f"zerverless_{self.name}"


_FUNCTION = ("namespace", "function")

REQUESTS = Metric(
    "requests_total",
    "counter",
    "Requests that have ended, by the first digit of the status: `2xx`.",
    (*_FUNCTION, "code_class"),
)
FAILURES = Metric(
    "function_errors_total",
    "counter",
    "Those of them the function failed: it crashed or timed out; by our code.",
    (*_FUNCTION, "code"),
)
ERRORS = Metric(
    "platform_errors_total",
    "counter",
    "Those of them we answered for another reason, such as busy; by our code.",
    (*_FUNCTION, "code"),
)
DURATION = Metric(
    "request_duration_seconds",
    "histogram",
    "From the request's first line to the end of the answer.",
    _FUNCTION,
)
COLD = Metric(
    "cold_start_seconds", "histogram", "Waits of requests for a start.", _FUNCTION
)
LEFT_OUT = Metric(
    "functions_left_out", "gauge", "Functions that were called and are not shown here."
)
INSTANCES = Metric(
    "instances", "gauge", "Instances of server functions, by state.", ("state",)
)
BUILDS = Metric(
    "builds_total", "counter", "Builds that have ended, by result.", ("result",)
)
BUILD_DURATION = Metric(
    "build_duration_seconds", "histogram", "Builds that were not reused."
)
QUEUE_DEPTH = Metric(
    "queue_depth", "gauge", "Work that waits: syncs, builds.", ("work",)
)
QUEUE_OLDEST = Metric(
    "queue_oldest_seconds", "gauge", "How long the oldest of it has waited.", ("work",)
)
HEARTBEAT = Metric(
    "worker_heartbeat_age_seconds",
    "gauge",
    "Since a cluster of workers last did something; over 60 it is stuck.",
    ("worker",),
)
SYNCED = Metric(
    "repo_last_sync_timestamp_seconds",
    "gauge",
    "When what serves was last known to be what Git says; 0: never.",
    ("namespace", "application"),
)
DISK = Metric("disk_free_bytes", "gauge", "Free where the data directory is.")
DATABASE = Metric("database_up", "gauge", "1 when the figures below could be read.")
INFO = Metric("build_info", "gauge", "Always 1.", ("version", "commit"))

METRICS = (
    *(REQUESTS, FAILURES, ERRORS, DURATION, COLD, LEFT_OUT, INFO, DATABASE, INSTANCES),
    *(BUILDS, BUILD_DURATION, QUEUE_DEPTH, QUEUE_OLDEST, HEARTBEAT, SYNCED, DISK),
)
