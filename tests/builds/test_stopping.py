"""Cancel, deadline and kill: the daemon's work ends, not only our waiting for it."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builds import engine, engine_client
from builds.errors import BuildCancelled, BuildError
from tests.builds.conftest import Maker
from tests.fixtures.docker import Daemon

PATIENCE = 20


def running(mark: str) -> bool:
    """Whether any process on this machine has `mark` in its command line."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if (
                mark.encode() in entry.read_bytes()
                and int(entry.parts[2]) != os.getpid()
            ):
                return True
        except OSError:
            continue
    return False


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Seconds until `condition` held; fails when it never does."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "never happened"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
def mark() -> str:
    """The argument of a `sleep` that no other process has."""
    return f"4{secrets.randbelow(10**8):08}"


def endless(mark: str) -> str:
    return f"FROM busybox\nRUN trap '' TERM INT; sleep {mark}\n"


def test_a_cancelled_build_ends_on_the_daemon_too(make_image: Maker, mark: str) -> None:
    """Threat 43. The step even ignores SIGTERM."""
    make_image.stop = lambda: running(f"sleep\0{mark}")
    with pytest.raises(BuildCancelled):
        make_image(endless(mark))
    assert wait_for(lambda: not running(mark)) < 5
    make_image.stop = lambda: False
    make_image("FROM busybox\nCMD true\n")


def test_a_build_past_its_deadline_ends_on_the_daemon_too(
    make_image: Maker, mark: str
) -> None:
    """Threat 43."""
    with pytest.raises(BuildError, match=r"after 3 seconds.*sleep") as caught:
        make_image(endless(mark), seconds=3)
    assert caught.value.code == "build:timeout"
    assert mark in caught.value.step
    assert wait_for(lambda: not running(mark)) < 5


WORKER = """
import io, sys, tarfile, tempfile
import django
django.setup()
from builds import client, engine
with tempfile.TemporaryFile() as file:
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(sys.argv[2])
        tar.addfile(info, io.BytesIO(sys.argv[2].encode()))
    engine.build(client.ImageRequest(sys.argv[1]), file, print, lambda: False)
"""


def test_a_worker_killed_in_mid_build_takes_the_build_with_it(
    make_image: Maker, mark: str
) -> None:
    """Threat 45: nobody is left to say stop; the broken connection does."""
    tag = make_image.tag("killed")
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "zerverless_site.settings"}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, tag, endless(mark)],
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: running(f"sleep\0{mark}"))
        assert running(f"--tag={tag}")
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert wait_for(lambda: not running(mark)) < 5
    assert not running(f"--tag={tag}")
    assert engine.image(tag) is None


def test_a_silent_step_outlives_the_timeout_of_an_api_call(
    make_image: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 46: the SDK gives up on a step that prints nothing for 60 seconds."""
    monkeypatch.setattr(engine_client, "_QUICK", 1)
    make_image(f"FROM busybox\nRUN sleep 2 # {secrets.token_hex(4)}\nCMD true\n")


def test_a_flood_of_output_costs_no_memory(make_image: Maker) -> None:
    """Threat 44: BuildKit clips a step's output, we keep the last lines of it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood = f"yes {'x' * 1000} | head -c 200000000 # {secrets.token_hex(4)}"
    make_image(f"FROM busybox\nRUN {flood}\nCMD true\n")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024  # KiB
    assert sum(map(len, make_image.lines)) < 20_000_000


BOMBS = {
    "memory": (
        "RUN tail /dev/zero\n",
        "build:out-of-memory",
        "killed.*out of memory",
    ),
    "processes": (
        "RUN i=0; while [ $i -lt 100 ]; do sleep 30 & i=$((i+1)); done; wait\n",
        "build:step",
        "can't fork",
    ),
}


@pytest.fixture
def small_daemon(own_daemon: Daemon, docker_client: Any, settings: Any) -> Daemon:
    """A daemon whose builds may use 64 MiB and 60 processes together."""
    script = Path(settings.BASE_DIR) / "docker" / "dind" / "limit-builds"
    subprocess.run(
        [str(script), own_daemon.cgroup_parent],
        env={
            **os.environ,
            "ZERVERLESS_BUILD_MEMORY": "64Mi",
            "ZERVERLESS_BUILD_PIDS": "60",
        },
        check=True,
    )
    own_daemon.load(docker_client, "busybox:latest")
    settings.DOCKER_HOST = own_daemon.host
    return own_daemon


def test_bombs_die_and_the_next_build_works(
    make_image: Maker, small_daemon: Daemon
) -> None:
    """Threat 43: limits of the daemon's build cgroup (docker/dind/limit-builds)."""
    for instruction, code, words in BOMBS.values():
        with pytest.raises(BuildError, match=words) as caught:
            make_image(f"FROM busybox\n{instruction}", seconds=30)
        assert caught.value.code == code
    make_image("FROM busybox\nRUN true\nCMD true\n")


class TestClassicBuilder:
    """Where no docker client can BuildKit; it runs in a process of its own."""

    @pytest.fixture(autouse=True)
    def _no_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("builds.client.find", lambda: None)

    def test_it_builds_and_says_so(
        self, make_image: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        new = secrets.token_hex(4)
        built = make_image(f"FROM busybox\nRUN echo hello {new}\nCMD true\n")
        assert "classic builder" in make_image.lines[0]
        assert f"hello {new}" in make_image.lines
        assert engine.image(make_image.tag("x")) == built

    def test_it_names_the_failed_step(self, make_image: Maker) -> None:
        with pytest.raises(BuildError) as caught:
            make_image("FROM busybox\nRUN echo no such thing; exit 3\n")
        assert caught.value.message == (
            'Step "RUN echo no such thing; exit 3" failed with exit code 3: '
            "no such thing"
        )

    def test_its_steps_are_limited(self, make_image: Maker, settings: Any) -> None:
        """Threat 43."""
        settings.ZERVERLESS_BUILD_MEMORY = 32 << 20
        with pytest.raises(BuildError, match="out of memory"):
            make_image("FROM busybox\nRUN tail /dev/zero\n", seconds=60)

    def test_cancelling_it_stops_the_daemon(self, make_image: Maker, mark: str) -> None:
        """Threats 43 and 46."""
        make_image.stop = lambda: running(f"sleep\0{mark}")
        with pytest.raises(BuildCancelled):
            make_image(endless(mark))
        wait_for(lambda: not running(mark))
