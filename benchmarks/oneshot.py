"""One container per request, against `docker run` of the same image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from benchmarks import bare
from benchmarks.bench import Bench, run
from benchmarks.client import Client, until
from benchmarks.measure import Figure, alternate, milliseconds
from benchmarks.platform import Files, Platform

PACE = 0.25  # ours and the reference in turn: each twice a second
BURST = 20
BUSYBOX: Files = {"Dockerfile": 'FROM busybox\nCMD ["echo", "hi"]\n'}
PYTHON: Files = {
    "Dockerfile": 'FROM python:3.11-slim\nCMD ["python3", "-I", "-S", "-c", '
    "\"print('hi')\"]\n"
}
_RATE_SECONDS = 3.0
_RATE_CONCURRENCY = (4, 8)


def busybox(bench: Bench) -> Iterator[Figure]:
    """A shell's `echo hi`."""
    yield _oneshot(bench, "busybox", BUSYBOX)


def scratch(bench: Bench) -> Iterator[Figure]:
    """An image with one static program and nothing else."""
    yield _oneshot(bench, "scratch", bench.static("hello"))


def python(bench: Bench) -> Iterator[Figure]:
    """An interpreter, whose own start is part of the time."""
    yield _oneshot(bench, "python", PYTHON)


def _oneshot(bench: Bench, name: str, files: Files) -> Figure:
    function = bench.platform.deploy(f"oneshot-{name}", files)
    command = _docker_run(function.image)
    bench.platform.get(function.path)
    until_primed(bench.platform, function.path)
    ours, reference = alternate(
        2 * bench.runs + 1,
        lambda: milliseconds(lambda: bench.platform.get(function.path)),
        lambda: milliseconds(lambda: run(command)),
        PACE,
    )
    about = f"one request, one {name} container; docker run --rm --network none"
    return Figure(f"oneshot_{name}", "ms", about, ours, reference)


def pool_empty(bench: Bench) -> Iterator[Figure]:
    """The first request to a function: nothing was started ahead for it."""
    runs = 2 * bench.runs + 1
    functions = bench.platform.deploy("cold", BUSYBOX, copies=runs)
    paths = (f"{functions.path}/{number}" for number in itertools.count())
    command = _docker_run(functions.image)
    ours, reference = alternate(
        runs,
        lambda: milliseconds(lambda: bench.platform.get(next(paths))),
        lambda: milliseconds(lambda: run(command)),
        PACE,
    )
    about = "the first request to a function (busybox); docker run --rm --network none"
    yield Figure("oneshot_pool_empty", "ms", about, ours, reference)


def rate(bench: Bench) -> Iterator[Figure]:
    """How many a second, when as many come as there can."""
    function = bench.platform.deploy("oneshot-rate", BUSYBOX)
    best: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(min(bench.runs, 5)):
        ours = [_our_rate(bench, function.path, n) for n in _RATE_CONCURRENCY]
        reference = [_bare_rate(function.image, n) for n in _RATE_CONCURRENCY]
        best["ours"].append(max(ours))
        best["bare"].append(max(reference))
    about = (
        "containers a second, the better of 4 and 8 at once (busybox); "
        "Docker's API: create, start, remove"
    )
    yield Figure("oneshot_rate", "/s", about, best["ours"], best["bare"])


def _our_rate(bench: Bench, path: str, workers: int) -> float:
    def ask() -> Iterator[None]:
        client = Client(bench.platform.url(path))
        while True:
            client.get()
            yield

    return _rate([ask() for _ in range(workers)])


def _bare_rate(image: str, workers: int) -> float:
    def start() -> Iterator[None]:
        engine = bare.Engine()
        while True:
            bare.plain_start(engine, image)
            yield

    return _rate([start() for _ in range(workers)])


def _rate(workers: list[Iterator[None]]) -> float:
    """How often a second all of them together take a step."""
    began = perf_counter()
    until = began + _RATE_SECONDS

    def steps(worker: Iterator[None]) -> int:
        return sum(
            1 for _ in itertools.takewhile(lambda _: perf_counter() < until, worker)
        )

    with ThreadPoolExecutor(len(workers)) as pool:
        done = sum(pool.map(steps, workers))
    return done / (perf_counter() - began)


def burst(bench: Bench) -> Iterator[Figure]:
    """Twenty at once to a function nobody called before: the slowest answer."""
    runs = min(bench.runs, 5)
    functions = bench.platform.deploy("burst", BUSYBOX, copies=runs)
    paths = (f"{functions.path}/{number}" for number in range(runs))

    def twenty_starts() -> None:
        engine = bare.Engine()
        for _ in range(BURST):
            bare.plain_start(engine, functions.image)

    ours, reference = alternate(
        runs,
        lambda: _burst(bench.platform, next(paths)),
        lambda: milliseconds(twenty_starts),
        3.0,
    )
    about = f"slowest of {BURST} requests at once; {BURST} plain starts in a row"
    yield Figure("oneshot_burst", "ms", about, ours, reference)


def _burst(platform: Platform, path: str) -> float:
    with ThreadPoolExecutor(BURST) as pool:
        asked = [
            pool.submit(milliseconds, lambda: platform.get(path)) for _ in range(BURST)
        ]
        return max(answer.result() for answer in asked)


def until_primed(platform: Platform, path: str) -> None:
    """Return when a container waits for the function's next request."""
    engine = bare.Engine()
    name = path.strip("/")
    until(lambda: "running" in engine.states(f'"{name}"'))


def _docker_run(image: str) -> list[str]:
    return ["docker", "run", "--rm", "--network", "none", image]
