"""A server function's first answer: from nothing, and from paused."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import bare
from benchmarks.bench import SOURCES, Bench
from benchmarks.client import answers, until
from benchmarks.measure import Figure, alternate, milliseconds
from benchmarks.platform import Deployed, Files, Platform
from benchmarks.wrk import wrk

PYTHON: Files = {
    "Dockerfile": "FROM python:3.11-slim\nCOPY server.py /\n"
    'ENTRYPOINT ["python3", "/server.py"]\n',
    "server.py": (SOURCES / "server.py").read_text(),
}
# Gone a moment after a request, so that the next one starts it.
_ONCE = ", port: 8080, cpu: 2, idle: 1s, instances: {max: 1}"
_LASTING = ", port: 8080, cpu: 2"
_SCALING = ", port: 8080, concurrency: 8, idle: 1s, instances: {min: 1, max: 4}"
_REST = 0.3  # seconds for the engine to come to rest after a removal


def static(bench: Bench) -> Iterator[Figure]:
    """A static server, which listens at once."""
    yield _cold(bench, "cold_server", "static", bench.static("server"))


def python(bench: Bench) -> Iterator[Figure]:
    """A Python server, whose own start is most of it."""
    yield _cold(bench, "cold_server_python", "Python", PYTHON)


def egress(bench: Bench) -> Iterator[Figure]:
    """The static server with a way out, against a container that has one."""
    files = bench.static("server")
    yield _cold(bench, "cold_server_egress", "static", files, network="bridge")


def _cold(
    bench: Bench, name: str, kind: str, files: Files, *, network: str = "none"
) -> Figure:
    keys = _ONCE if network == "none" else f"{_ONCE}, network: egress"
    function = bench.platform.deploy(name.replace("_", "-"), files, keys)
    ours, reference = alternate(
        bench.runs,
        lambda: _first_answer(bench.platform, function),
        lambda: _bare_start(function.image, network),
    )
    about = (
        f"first answer of a {kind} server function, from no instance; "
        f"Docker's API: create, start on {network}, until the server answers"
    )
    return Figure(name, "ms", about, ours, reference)


def _first_answer(platform: Platform, function: Deployed) -> float:
    until(lambda: not states(function))
    time.sleep(_REST)
    return milliseconds(lambda: platform.get(function.path))


def _bare_start(image: str, network: str) -> float:
    """Create, start, and ask the server through a unix socket until it answers."""
    engine = bare.Engine()
    folder = Path(tempfile.mkdtemp(prefix="zb"))
    folder.chmod(0o777)
    socket = folder / "s"
    began = time.perf_counter()
    binds = [f"{folder}:/run/s"]
    container = engine.create(image, Cmd=["/run/s/s"], Binds=binds, NetworkMode=network)
    try:
        engine.start(container)
        until(lambda: answers("http://localhost/", socket), every=0.001)
        return 1000 * (time.perf_counter() - began)
    finally:
        engine.remove(container)
        shutil.rmtree(folder)
        time.sleep(_REST)


def resume(bench: Bench) -> Iterator[Figure]:
    """The first answer of an instance that was paused, against the bare call."""
    platform = bench.installation(ZERVERLESS_PAUSE_AFTER="1s")
    function = platform.deploy("paused", bench.static("server"), _LASTING)
    platform.get(function.path)
    engine = bare.Engine()
    container = engine.create(function.image)
    engine.start(container)
    bench.ending.callback(engine.remove, container)

    def thaw() -> float:
        engine.pause(container)
        time.sleep(_REST)
        return milliseconds(lambda: engine.unpause(container))

    def ask() -> float:
        until(lambda: states(function) == ["paused"])
        time.sleep(_REST)
        return milliseconds(lambda: platform.get(function.path))

    ours, reference = alternate(bench.runs, ask, thaw)
    about = "answer of a server function that was paused; Docker's API: unpause"
    yield Figure("resume", "ms", about, ours, reference)


def scale(bench: Bench) -> Iterator[Figure]:
    """From one instance to four while 32 connections ask all the time."""
    function = bench.platform.deploy("scaling", bench.static("server"), _SCALING)
    seconds, failed = [], []
    for _ in range(min(bench.runs, 5)):
        until(lambda: len(states(function)) == 1)
        with ThreadPoolExecutor(1) as thread:
            load = thread.submit(wrk, bench.platform.url(function.path), 32, 4)
            began = time.perf_counter()
            until(lambda: states(function) == ["running"] * 4)
            seconds.append(time.perf_counter() - began)
            failed.append(float(load.result().errors))
    about = "requests that failed while a server function went from 1 to 4 instances"
    yield Figure("scale_1_to_4", "", about, failed)
    about = "seconds it took until four instances ran"
    yield Figure("scale_seconds", "s", about, seconds)


def states(function: Deployed) -> list[str]:
    """The states of a function's containers, in order."""
    return bare.Engine().states(f'"{function.path.strip("/")}"')
