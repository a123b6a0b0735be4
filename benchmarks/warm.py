"""A warm server function against nginx before the same server on a unix socket."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.measure import Figure, quiet
from benchmarks.wrk import Load, wrk

_SECONDS = 2
NGINX = "nginx, one worker, to the same server on a unix socket"


def one(bench: Bench) -> Iterator[Figure]:
    """A single connection: how long a request takes."""
    ours, reference = compare(bench, 1)
    yield Figure(
        "warm_p50_c1",
        "ms",
        f"warm server function, median at 1 connection; {NGINX}",
        [load.p50 for load in ours],
        [load.p50 for load in reference],
    )


def eight(bench: Bench) -> Iterator[Figure]:
    """Eight connections: how many requests a second."""
    ours, reference = compare(bench, 8)
    yield _rps(8, ours, reference)


def many(bench: Bench) -> Iterator[Figure]:
    """Thirty-two connections: how many, and how long the slowest take."""
    ours, reference = compare(bench, 32)
    yield _rps(32, ours, reference)
    yield Figure(
        "warm_p99_c32",
        "ms",
        f"the same, 99th percentile at 32 connections; {NGINX}",
        [load.p99 for load in ours],
        [load.p99 for load in reference],
    )


def compare(bench: Bench, connections: int) -> tuple[list[Load], list[Load]]:
    """Ours and nginx in turn; RuntimeError where anything but 200 came."""
    targets = {"ours": bench.server_url, "nginx": bench.nginx.url}
    loads: dict[str, list[Load]] = {name: [] for name in targets}
    for url in targets.values():
        wrk(url, connections, 2)  # warm
    for _ in range(bench.runs):
        for name, url in targets.items():
            quiet()
            loads[name].append(checked(wrk(url, connections, _SECONDS)))
    return loads["ours"], loads["nginx"]


def checked(load: Load) -> Load:
    """A load without a single failure."""
    if load.errors:
        raise RuntimeError(f"{load.errors} requests failed: {load}")
    return load


def _rps(connections: int, ours: list[Load], reference: list[Load]) -> Figure:
    return Figure(
        f"warm_rps_c{connections}",
        "/s",
        f"warm server function, requests a second, {connections} connections; {NGINX}",
        [load.rps for load in ours],
        [load.rps for load in reference],
    )
