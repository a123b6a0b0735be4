"""Every metric: its name, its labels, what it means, and how its samples are made.

The list is the source of docs/metrics.md as well. Names and units follow Prometheus:
base units, `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from prometheus_client import Metric as Family
from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from runtime import about, histogram
from runtime.figures import BUILD_BOUNDS, Builds, Figures
from runtime.siblings import Told
from runtime.traffic import Reading, status_of

Labels = Sequence[str]
Samples = Iterable[tuple[Labels, float]]


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
ERRORS = Metric(
    "platform_errors_total",
    "counter",
    "Those of them we answered in the function's place, by our code.",
    (*_FUNCTION, "code"),
)
DURATION = Metric(
    "request_duration_seconds",
    "histogram",
    "From the request's first line to the end of the answer.",
    _FUNCTION,
)
COLD = Metric(
    "cold_start_seconds", "histogram", "Starts that requests waited for.", _FUNCTION
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
    *(REQUESTS, ERRORS, DURATION, COLD, LEFT_OUT, INFO, DATABASE, INSTANCES),
    *(BUILDS, BUILD_DURATION, QUEUE_DEPTH, QUEUE_OLDEST, HEARTBEAT, SYNCED, DISK),
)


class Scrape:
    """Everything one answer says; a prometheus_client collector."""

    def __init__(
        self, gateways: Sequence[Told], figures: Figures | None, builds: Builds
    ) -> None:
        self._gateways = gateways
        self._figures = figures
        self._builds = builds
        # With one gateway there is nothing to tell apart.
        self._also: Labels = ("gateway",) if len(gateways) > 1 else ()

    def collect(self) -> Iterator[Family]:
        """Every family, once."""
        yield _counter(REQUESTS, self._each(_answers), self._also)
        yield _counter(ERRORS, self._each(_errors), self._also)
        yield self._histogram(DURATION, lambda one: (one.durations, one.seconds))
        yield self._histogram(COLD, lambda one: (one.cold_buckets, one.cold_seconds))
        left_out = [(self._place(one), one.left_out) for one in self._gateways]
        yield _gauge(LEFT_OUT, left_out, self._also)
        yield _gauge(INFO, [((about.version(), about.commit()), 1)])
        yield _gauge(DATABASE, [((), self._figures is not None)])
        if self._figures is not None:
            yield from _of_database(self._figures, self._builds)
        yield from self._processes()

    def _each(self, samples: Callable[[Reading], Samples]) -> Samples:
        for gateway in self._gateways:
            for place, reading in gateway.functions.items():
                for labels, value in samples(reading):
                    yield (*place, *labels, *self._place(gateway)), value

    def _histogram(
        self, metric: Metric, part: Callable[[Reading], tuple[list[int], float]]
    ) -> Family:
        labels = [*metric.labels, *self._also]
        family = HistogramMetricFamily(metric.full_name, metric.about, labels=labels)
        for gateway in self._gateways:
            for place, reading in gateway.functions.items():
                counts, seconds = part(reading)
                if any(counts):
                    buckets = _buckets(histogram.BOUNDS, counts)
                    own = [*place, *self._place(gateway)]
                    family.add_metric(own, buckets, seconds)
        return family

    def _place(self, gateway: Told) -> Labels:
        return (gateway.name,) if self._also else ()

    def _processes(self) -> Iterator[Family]:
        """Memory, files and processor time of each gateway."""
        found: dict[str, Family] = {}
        for gateway in self._gateways:
            also = dict(zip(self._also, self._place(gateway), strict=True))
            collector = ProcessCollector(pid=partial(int, gateway.pid), registry=None)
            for family in collector.collect():
                kept = found.setdefault(family.name, family)
                own = [one._replace(labels=also) for one in family.samples]
                kept.samples = own if kept is family else [*kept.samples, *own]
        yield from found.values()


def _answers(reading: Reading) -> Samples:
    by_class = list(reading.answers)
    for code, count in reading.errors.items():
        by_class[status_of(code) // 100] += count
    for digit, count in enumerate(by_class):
        if count:
            yield (f"{digit}xx" if digit else "none",), count


def _errors(reading: Reading) -> Samples:
    return (((code,), count) for code, count in reading.errors.items())


def _of_database(figures: Figures, builds: Builds) -> Iterator[Family]:
    yield _gauge(INSTANCES, _labelled(figures.instances))
    yield _counter(BUILDS, _labelled(builds.results.copy()))
    name = BUILD_DURATION.full_name
    durations = HistogramMetricFamily(name, BUILD_DURATION.about, labels=[])
    buckets = _buckets(BUILD_BOUNDS, builds.durations.copy())
    durations.add_metric([], buckets, builds.seconds)
    yield durations
    queues = figures.queues.items()
    yield _gauge(QUEUE_DEPTH, [((work,), depth) for work, (depth, _) in queues])
    yield _gauge(QUEUE_OLDEST, [((work,), oldest) for work, (_, oldest) in queues])
    yield _gauge(HEARTBEAT, _labelled(figures.heartbeats))
    yield _gauge(SYNCED, figures.synced_at.items())
    yield _gauge(DISK, [((), figures.disk_free)])


def _labelled(values: Mapping[str, float]) -> Samples:
    return (((label,), value) for label, value in values.items())


def _counter(metric: Metric, samples: Samples, also: Labels = ()) -> Family:
    family = CounterMetricFamily(
        metric.full_name, metric.about, labels=[*metric.labels, *also]
    )
    return _filled(family, samples)


def _gauge(metric: Metric, samples: Samples, also: Labels = ()) -> Family:
    family = GaugeMetricFamily(
        metric.full_name, metric.about, labels=[*metric.labels, *also]
    )
    return _filled(family, samples)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, samples: Samples
) -> Family:
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket what is in the smaller ones as well."""
    names = [*map(str, bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
