"""Every figure, and what measures it, in the order they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import bodies, cold, delivery, hanging, oneshot, sam, scale, warm
from benchmarks.bench import Bench
from benchmarks.measure import Figure

Measure = Callable[[Bench], Iterator[Figure]]


@dataclass(frozen=True)
class Measurement:
    """One way to get one or several figures."""

    group: str  # the heading they stand under in docs/performance.md
    names: tuple[str, ...]
    measure: Measure


def _group(name: str, **measures: Measure) -> list[Measurement]:
    """Measurements of one figure each."""
    return [Measurement(name, (figure,), how) for figure, how in measures.items()]


def _ways(name: str) -> tuple[str, ...]:
    return (f"{name}_up", f"{name}_down", name)


_IDLE = ("idle_200", "idle_200_cpu", "idle_200_paused")
MEASUREMENTS = (
    *_group(
        "One container per request",
        oneshot_busybox=oneshot.busybox,
        oneshot_scratch=oneshot.scratch,
        oneshot_python=oneshot.python,
        oneshot_pool_empty=oneshot.pool_empty,
        oneshot_burst=oneshot.burst,
        oneshot_rate=oneshot.rate,
        sam_oneshot=sam.once,
    ),
    *_group("A warm server function", warm_p50_c1=warm.one, warm_rps_c8=warm.eight),
    Measurement("A warm server function", ("warm_rps_c32", "warm_p99_c32"), warm.many),
    Measurement(
        "A warm server function",
        ("dashboard_beside", "dashboard_pages"),
        scale.dashboard,
    ),
    *_group("A warm server function", sam_warm=sam.warm),
    Measurement("Large bodies", _ways("body_1mb"), bodies.one),
    Measurement("Large bodies", (*_ways("body_100mb"), "body_memory"), bodies.hundred),
    *_group(
        "Starting and resuming a server function",
        cold_server=cold.static,
        cold_server_python=cold.python,
        cold_server_egress=cold.egress,
        resume=cold.resume,
    ),
    Measurement(
        "Starting and resuming a server function",
        ("scale_1_to_4", "scale_seconds"),
        cold.scale,
    ),
    Measurement(
        "Many functions",
        ("routes_10000", "routes_10000_rps", "routes_memory"),
        scale.routes,
    ),
    Measurement(
        "Many functions",
        (*_IDLE, "idle_200_containers", "idle_200_paused_cpu"),
        scale.idle,
    ),
    *_group(
        "From Git to an answer",
        run_to_live=delivery.run_to_live,
        build_overhead=delivery.build_overhead,
        push_to_live=delivery.push_to_live,
        push_beside_hanging=hanging.push_beside_hanging,
        idle_memory=delivery.idle_memory,
    ),
)


def chosen(names: list[str]) -> list[Measurement]:
    """Those that give the named figures, or all; raises KeyError for an unknown one."""
    known = {name for one in MEASUREMENTS for name in one.names}
    for name in names:
        if name not in known:
            raise KeyError(f"{name} is none of {', '.join(sorted(known))}")
    return [one for one in MEASUREMENTS if not names or set(names) & set(one.names)]
