"""Every figure, and what measures it, in the order they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import bodies, cold, delivery, oneshot, sam, scale, warm
from benchmarks.bench import Bench
from benchmarks.measure import Figure


@dataclass(frozen=True)
class Measurement:
    """One way to get one or several figures."""

    names: tuple[str, ...]
    measure: Callable[[Bench], Iterator[Figure]]


def _one(name: str, measure: Callable[[Bench], Iterator[Figure]]) -> Measurement:
    return Measurement((name,), measure)


def _ways(name: str) -> tuple[str, ...]:
    return (f"{name}_up", f"{name}_down", name)


MEASUREMENTS = (
    _one("run_to_live", delivery.run_to_live),
    _one("oneshot_busybox", oneshot.busybox),
    _one("oneshot_scratch", oneshot.scratch),
    _one("oneshot_python", oneshot.python),
    _one("oneshot_pool_empty", oneshot.pool_empty),
    _one("oneshot_burst", oneshot.burst),
    _one("oneshot_rate", oneshot.rate),
    _one("warm_p50_c1", warm.one),
    _one("warm_rps_c8", warm.eight),
    Measurement(("warm_rps_c32", "warm_p99_c32"), warm.many),
    Measurement(_ways("body_1mb"), bodies.one),
    Measurement((*_ways("body_100mb"), "body_memory"), bodies.hundred),
    _one("cold_server", cold.static),
    _one("cold_server_python", cold.python),
    _one("resume", cold.resume),
    Measurement(("scale_1_to_4", "scale_seconds"), cold.scale),
    Measurement(("dashboard_beside", "dashboard_pages"), scale.dashboard),
    Measurement(("routes_10000", "routes_10000_rps", "routes_memory"), scale.routes),
    Measurement(
        (
            "idle_200",
            "idle_200_cpu",
            "idle_200_paused",
            "idle_200_containers",
            "idle_200_paused_cpu",
        ),
        scale.idle,
    ),
    _one("sam_oneshot", sam.once),
    _one("sam_warm", sam.warm),
    _one("build_overhead", delivery.build_overhead),
    _one("push_to_live", delivery.push_to_live),
    _one("idle_memory", delivery.idle_memory),
)


def chosen(names: list[str]) -> list[Measurement]:
    """Those that give the named figures, or all; raises KeyError for an unknown one."""
    known = {name for one in MEASUREMENTS for name in one.names}
    for name in names:
        if name not in known:
            raise KeyError(f"{name} is none of {', '.join(sorted(known))}")
    return [one for one in MEASUREMENTS if not names or set(names) & set(one.names)]
