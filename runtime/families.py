"""The samples of every metric: what one scrape is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TypeVar

from prometheus_client import Metric as Family
from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from runtime import about, metric
from runtime.figures import BUILD_BOUNDS, Builds, Figures
from runtime.histogram import BOUNDS
from runtime.metric import Metric
from runtime.siblings import Told
from runtime.traffic import Reading, is_functions, status_of

Labels = Sequence[str]
Samples = Iterable[tuple[Labels, float]]
Histogram = tuple[list[int], float]  # counts, and the seconds of all together
Value = TypeVar("Value")


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
        yield _counter(metric.REQUESTS, self._each(_answers), self._also)
        yield _counter(metric.FAILURES, self._each(_failures), self._also)
        yield _counter(metric.ERRORS, self._each(_errors), self._also)
        rows = self._each(lambda one: [((), (one.durations, one.seconds))])
        yield _histogram(metric.DURATION, BOUNDS, rows, self._also)
        rows = self._each(lambda one: [((), (one.cold_buckets, one.cold_seconds))])
        yield _histogram(metric.COLD, BOUNDS, rows, self._also)
        left_out = [(self._place(one), one.left_out) for one in self._gateways]
        yield _gauge(metric.LEFT_OUT, left_out, self._also)
        yield _gauge(metric.INFO, [((about.version(), about.commit()), 1)])
        yield _gauge(metric.DATABASE, [((), self._figures is not None)])
        if self._figures is not None:
            yield from _of_database(self._figures, self._builds)
        yield from self._processes()

    def _each(
        self, part: Callable[[Reading], Iterable[tuple[Labels, Value]]]
    ) -> Iterator[tuple[Labels, Value]]:
        """A part of every function's numbers, with the labels that say whose it is."""
        for gateway in self._gateways:
            for place, reading in gateway.functions.items():
                for labels, value in part(reading):
                    yield (*place, *labels, *self._place(gateway)), value

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


def _failures(reading: Reading) -> Samples:
    return _by_code(reading, functions=True)


def _errors(reading: Reading) -> Samples:
    return _by_code(reading, functions=False)


def _by_code(reading: Reading, *, functions: bool) -> Samples:
    return (
        ((code,), count)
        for code, count in reading.errors.items()
        if is_functions(code) is functions
    )


def _of_database(figures: Figures, builds: Builds) -> Iterator[Family]:
    yield _gauge(metric.INSTANCES, _labelled(figures.instances))
    yield _counter(metric.BUILDS, _labelled(builds.results.copy()))
    durations = (builds.durations.copy(), builds.seconds)
    yield _histogram(metric.BUILD_DURATION, BUILD_BOUNDS, [((), durations)])
    depths = {work: depth for work, (depth, _) in figures.queues.items()}
    yield _gauge(metric.QUEUE_DEPTH, _labelled(depths))
    waited = {work: seconds for work, (_, seconds) in figures.queues.items()}
    yield _gauge(metric.QUEUE_OLDEST, _labelled(waited))
    yield _gauge(metric.HEARTBEAT, _labelled(figures.heartbeats))
    yield _gauge(metric.SYNCED, figures.synced_at.items())
    yield _gauge(metric.DISK, [((), figures.disk_free)])


def _labelled(values: Mapping[str, float]) -> Samples:
    return (((label,), value) for label, value in values.items())


def _counter(what: Metric, samples: Samples, also: Labels = ()) -> Family:
    labels = [*what.labels, *also]
    return _filled(
        CounterMetricFamily(what.full_name, what.about, None, labels), samples
    )


def _gauge(what: Metric, samples: Samples, also: Labels = ()) -> Family:
    labels = [*what.labels, *also]
    return _filled(GaugeMetricFamily(what.full_name, what.about, None, labels), samples)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, samples: Samples
) -> Family:
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _histogram(
    what: Metric,
    bounds: Sequence[float],
    rows: Iterable[tuple[Labels, Histogram]],
    also: Labels = (),
) -> Family:
    labels = [*what.labels, *also]
    family = HistogramMetricFamily(what.full_name, what.about, labels=labels)
    names = [*map(str, bounds), "+Inf"]
    for place, (counts, seconds) in rows:
        # Prometheus counts in each bucket what is in the smaller ones as well.
        buckets = list(zip(names, accumulate(counts), strict=True))
        if buckets[-1][1] or not place:
            family.add_metric(place, buckets, seconds)
    return family
