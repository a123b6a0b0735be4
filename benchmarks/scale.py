"""Many functions, idle functions, and the dashboard beside a busy one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.bench import KEYS, Bench
from benchmarks.client import until
from benchmarks.cold import states
from benchmarks.measure import Figure, alternate, quiet
from benchmarks.platform import Deployed, Platform
from benchmarks.resources import children, cpu_seconds, proportional_memory
from benchmarks.warm import checked
from benchmarks.wrk import wrk

ROUTES = 10_000
FEW = 10
IDLE = 200
PAGES = 20.0  # a second
# Asks for thousands of different paths below one function, so that a lookup is part of
# every request: what is asked again and again is remembered.
_PATHS = str(Path(__file__).parent / "server" / "paths.lua")
_COPY = """
from django.db import transaction
from django.db.models import F
from applications.models import Function
from builds.models import Build
from runtime.models import Deployment, Installation
live = Deployment.objects.live().get(function__path="/routed")
function, build = live.function, live.build
live.config = {{**live.config, "min_instances": 0}}
with transaction.atomic():
    for number in range({count}):
        function.pk = None
        function.path = f"/many/{{number % 100}}/{{number}}"
        function.save(force_insert=True)
        build.pk, build.function, build.sync = None, function, None
        build.save(force_insert=True)
        live.pk, live.function, live.build = None, function, build
        live.save(force_insert=True)
    Installation.objects.update(routes_version=F("routes_version") + 1)
"""
_SMALL = ", port: 8080, memory: 16Mi, instances: {max: 1}"
_WINDOW = 40.0  # seconds of idleness


def routes(bench: Bench) -> Iterator[Figure]:
    """Ten thousand routes against ten: as quick, and what one takes in memory."""
    few, many = (_routed(bench) for _ in range(2))
    _add_routes(few, FEW)
    gateway = [many.gateway()]
    before = proportional_memory(gateway)
    _add_routes(many, ROUTES)
    grown = proportional_memory(gateway) - before
    for name, unit, connections in (("_rps", "/s", 8), ("", "ms", 1)):

        def measure(platform: Platform, at_once: int = connections) -> float:
            load = checked(wrk(platform.url("/bench/routed"), at_once, 2, _PATHS))
            return load.rps if at_once > 1 else load.p50

        ours, reference = alternate(
            bench.runs, lambda: measure(many), lambda: measure(few)
        )
        what = "requests a second, 8 connections" if name else "median, 1 connection"
        about = f"{ROUTES} routes, warm server function: {what}; {FEW} routes"
        yield Figure(f"routes_{ROUTES}{name}", unit, about, ours, reference)
    about = "gateway's memory for each route"
    yield Figure("routes_memory", "KiB", about, [1024 * grown / ROUTES])


def _routed(bench: Bench) -> Platform:
    platform = bench.installation()
    platform.deploy("routed", bench.static("server"), KEYS)
    platform.get("/bench/routed")
    return platform


def _add_routes(platform: Platform, count: int) -> None:
    """Rows of live deployments, as many, and wait until the last one is routed."""
    platform.stack.shell(_COPY.format(count=count))
    last = f"/bench/many/{(count - 1) % 100}/{count - 1}"
    until(lambda: platform.stack.get(last).status == 200)


def idle(bench: Bench) -> Iterator[Figure]:
    """Two hundred functions that nobody calls, first at zero and then paused."""
    platform = bench.installation()
    # What the first function has a process import is no other function's.
    first = platform.deploy("first", bench.static("server"), _SMALL)
    until(lambda: not states(first))
    time.sleep(10)
    empty = proportional_memory(platform.pids())
    function = platform.deploy("idle", bench.static("server"), _SMALL, copies=IDLE)
    until(lambda: not states(Deployed(f"{function.path}/{IDLE - 1}", "")))
    time.sleep(10)
    taken = proportional_memory(platform.pids()) - empty
    about = f"memory of all the platform's processes for each of {IDLE} functions more"
    yield Figure("idle_200", "KiB", f"{about}, at zero", [1024 * taken / IDLE])
    cpu = _cpu_per_minute(platform)
    about = f"processor time of the whole platform, {IDLE} functions"
    yield Figure("idle_200_cpu", "s/min", f"{about} at zero", [cpu])
    yield from _paused(platform, function, empty)


def _paused(platform: Platform, function: Deployed, empty: float) -> Iterator[Figure]:
    shims = set(children("containerd-shim"))
    paths = [f"{function.path}/{number}" for number in range(IDLE)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(platform.get, paths))
    last = Deployed(paths[-1], "")
    until(lambda: states(last) == ["paused"], 120)
    time.sleep(20)
    taken = proportional_memory(platform.pids()) - empty
    about = f"the same with {IDLE} paused instances"
    yield Figure("idle_200_paused", "KiB", about, [1024 * taken / IDLE])
    about = "memory of the containers and Docker's shims of one paused instance"
    containers = proportional_memory(set(children("containerd-shim")) - shims)
    yield Figure("idle_200_containers", "MiB", about, [containers / IDLE])
    about = f"processor time of the whole platform, {IDLE} paused instances"
    yield Figure("idle_200_paused_cpu", "s/min", about, [_cpu_per_minute(platform)])


def _cpu_per_minute(platform: Platform) -> float:
    pids = platform.pids()
    before = cpu_seconds(pids)
    time.sleep(_WINDOW)
    return (cpu_seconds(pids) - before) * 60 / _WINDOW


def dashboard(bench: Bench) -> Iterator[Figure]:
    """Pages loaded beside a busy function: what they do to its slowest requests."""
    url = bench.server_url
    loaded: list[float] = []

    def beside() -> float:
        quiet()
        with bench.platform.dashboard.browsed(PAGES) as pages:
            load = checked(wrk(url, 32, 4))
        loaded.append(len(pages) / 4)
        return load.p99

    def alone() -> float:
        quiet()
        return checked(wrk(url, 32, 4)).p99

    ours, reference = alternate(bench.runs, beside, alone)
    about = "99th percentile at 32 connections beside the dashboard's pages; without"
    yield Figure("dashboard_beside", "ms", about, ours, reference)
    about = "pages loaded a second meanwhile"
    yield Figure("dashboard_pages", "/s", about, loaded)
