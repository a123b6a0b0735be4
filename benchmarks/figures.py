"""The figures of the main job. Each returns a Figure; none asserts anything."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Figure, alternate, seconds
from benchmarks.platform import Platform
from builds import client

RUNS = int(os.environ.get("RUNS", "7"))
_versions = itertools.count(1)

BUSYBOX = 'FROM busybox\nCMD ["echo", "hi"]\n'
PYTHON = 'FROM python:3.11-slim\nCMD ["python3", "-I", "-S", "-c", "print(\'hi\')"]\n'
APP = """\
FROM python:3.11-slim
WORKDIR /app
COPY . .
RUN python -m compileall -q .
CMD ["python", "main.py"]
"""


def all_figures(platform: Platform) -> list[Callable[[], Figure]]:
    """Every figure, in the order they are run."""
    return [
        lambda: run_to_live(platform),
        lambda: oneshot(platform, "busybox", BUSYBOX),
        lambda: oneshot(platform, "python", PYTHON),
        lambda: build_overhead(platform),
        lambda: push_to_live(platform),
        lambda: idle_memory(platform),
    ]


def run_to_live(platform: Platform) -> Figure:
    """From `serve` on an empty data directory to the sample's first answer."""
    ours = [platform.fresh_start() for _ in range(min(RUNS, 3))]
    about = "serve on an empty data directory until the sample function answers"
    return Figure("run_to_live", "s", about, ours, [])


def oneshot(platform: Platform, name: str, dockerfile: str) -> Figure:
    """One request in a container of its own, against `docker run` of its image."""
    path = platform.deploy(f"oneshot-{name}", {"Dockerfile": dockerfile})
    image = platform.image_of(path)
    command = [docker(), "run", "--rm", "--network", "none", image]
    ours, reference = alternate(
        2 * RUNS + 1,
        lambda: 1000 * seconds(lambda: platform.get(path)),
        lambda: 1000 * seconds(lambda: run(command)),
    )
    about = f"one request, one {name} container; docker run --rm --network none"
    return Figure(f"oneshot_{name}", "ms", about, ours, reference)


def build_overhead(platform: Platform) -> Figure:
    """Our build of a changed commit against a bare `docker build` of its context."""
    platform.deploy("built", context(next(_versions)))

    def ours() -> float:
        return platform.build_seconds("built", context(next(_versions)))

    ours_s, bare_s = alternate(RUNS, ours, lambda: bare_build(context(next(_versions))))
    about = "build of 200 changed files with COPY and RUN; docker build of the same"
    return Figure("build_overhead", "s", about, ours_s, bare_s)


def push_to_live(platform: Platform) -> Figure:
    """From Sync now after a push to the first answer of the new commit."""
    path = platform.deploy("pushed", word("first"))
    ours = [
        platform.push_until_live("pushed", path, f"version {next(_versions)}")
        for _ in range(RUNS)
    ]
    about = "sync requested after a push until the new commit answers (busybox)"
    return Figure("push_to_live", "s", about, ours, [])


def idle_memory(platform: Platform) -> Figure:
    """Proportional memory of every process of the platform, at rest."""
    about = "proportional set size of all processes: gateway, web, workers, supervisor"
    return Figure("idle_memory", "MiB", about, [platform.memory()], [])


def word(text: str) -> dict[str, str]:
    """A function that says one thing."""
    return {"Dockerfile": f'FROM busybox\nCMD ["echo", "{text}"]\n'}


def context(version: int) -> dict[str, str]:
    """A small application whose every file differs from version to version."""
    sources = {
        f"package/module_{number}.py": f"VALUE = {number} + {version}\n" * 20
        for number in range(200)
    }
    return {"Dockerfile": APP, "main.py": f"print({version})\n", **sources}


def bare_build(files: dict[str, str]) -> float:
    """Seconds of `docker build` with BuildKit, as a person would type it."""
    folder = Path(tempfile.mkdtemp())
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        command = [docker(), "build", "--quiet", "--tag=zerverless-bench", str(folder)]
        return seconds(lambda: run(command, environment))
    finally:
        shutil.rmtree(folder)


def docker() -> str:
    """The docker command line that builds use."""
    found = client.find()
    return found.path if found else "docker"


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """A command that has to succeed."""
    subprocess.run(command, check=True, capture_output=True, env=environment)
