"""From nothing to an answer, from a push to an answer, and what that costs at rest."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, build_image, run
from benchmarks.client import until
from benchmarks.measure import Figure, alternate, seconds
from benchmarks.platform import PATIENCE, Files, Platform
from benchmarks.resources import proportional_memory

# Never the same twice on one machine: its build cache remembers earlier runs.
_versions = itertools.count(int(time.time()))
APP = """\
FROM python:3.11-slim
WORKDIR /app
COPY . .
RUN python -m compileall -q .
CMD ["python", "main.py"]
"""


def run_to_live(bench: Bench) -> Iterator[Figure]:
    """From `serve` on an empty data directory to the sample's first answer."""
    ours = [_fresh_start() for _ in range(min(bench.runs, 3))]
    about = "serve on an empty data directory until the sample function answers"
    yield Figure("run_to_live", "s", about, ours)


def _fresh_start() -> float:
    began = time.perf_counter()
    platform = Platform(ZERVERLESS_SAMPLE="on")
    try:
        until(lambda: platform.stack.get("/demo/hello").status == 200, PATIENCE)
        return time.perf_counter() - began
    finally:
        platform.stop()


def build_overhead(bench: Bench) -> Iterator[Figure]:
    """Our build of a changed commit against a bare `docker build` of its context."""
    bench.platform.deploy("built", _context())
    bench.ending.callback(run, ["docker", "rmi", "--force", "zerverless-bench"])
    ours, reference = alternate(
        bench.runs,
        lambda: bench.platform.build_seconds("built", _context()),
        lambda: _bare_build(_context()),
    )
    about = "build of 200 changed files with COPY and RUN; docker build of the same"
    yield Figure("build_overhead", "s", about, ours, reference)


def push_to_live(bench: Bench) -> Iterator[Figure]:
    """From Sync now after a push to the first answer of the new commit."""
    bench.platform.deploy("pushed", _word("first"))
    ours = [
        _push(bench.platform, f"version {next(_versions)}") for _ in range(bench.runs)
    ]
    about = "sync requested after a push until the new commit answers (busybox)"
    yield Figure("push_to_live", "s", about, ours)


def _push(platform: Platform, text: str) -> float:
    return platform.push_until_live("pushed", _word(text), f"{text}\n")


def idle_memory(bench: Bench) -> Iterator[Figure]:
    """Proportional memory of every process of the platform, at rest."""
    pids = bench.platform.pids()
    time.sleep(30)
    about = "proportional set size of all processes: gateway, web, workers, supervisor"
    yield Figure("idle_memory", "MiB", about, [proportional_memory(pids)])


def _word(text: str) -> Files:
    """A function that says one thing."""
    return {"Dockerfile": f'FROM busybox\nCMD ["echo", "{text}"]\n'}


def _context() -> Files:
    """A small application whose every file differs from that of the last call."""
    version = next(_versions)
    sources: Files = {
        f"package/module_{number}.py": f"VALUE = {number} + {version}\n" * 20
        for number in range(200)
    }
    return {"Dockerfile": APP, "main.py": f"print({version})\n", **sources}


def _bare_build(files: Files) -> float:
    """Seconds of `docker build` with BuildKit, as a person would type it."""
    folder = Path(tempfile.mkdtemp())
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(str(text))
        return seconds(lambda: build_image(folder, "zerverless-bench"))
    finally:
        shutil.rmtree(folder)
