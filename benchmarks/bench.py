"""What measurements share: installations, the servers they ask, what has to end."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import ExitStack
from functools import cache, cached_property
from pathlib import Path

from benchmarks.client import answers, until
from benchmarks.nginx import Nginx
from benchmarks.platform import Deployed, Platform

SOURCES = Path(__file__).parent / "server"
SCRATCH = 'FROM scratch\nCOPY {0} /{0}\nENTRYPOINT ["/{0}"]\n'
# All the processors there are, as nginx and the reference server have them.
KEYS = ", port: 8080, cpu: 2, concurrency: 64, instances: {min: 1, max: 1}"


class Bench:
    """Made once for a run of `make bench`; each part is made when it is first asked
    for, and all of them end with `close`."""

    def __init__(self) -> None:
        self.runs = int(os.environ.get("RUNS", "7"))
        self.ending = ExitStack()
        self._binaries: dict[str, bytes] = {}

    def close(self) -> None:
        self.ending.close()

    def installation(self, **environment: str) -> Platform:
        """A new installation, for as long as the run."""
        platform = Platform(**environment)
        self.ending.callback(platform.stop)
        return platform

    @cached_property
    def platform(self) -> Platform:
        """The one with nothing but default settings."""
        return self.installation()

    @cached_property
    def server(self) -> Deployed:
        """The static server as a warm function of `platform`."""
        deployed = self.platform.deploy("server", self.static("server"), KEYS)
        self.platform.get(deployed.path)
        return deployed

    @property
    def server_url(self) -> str:
        return self.platform.url(self.server.path)

    @cached_property
    def nginx(self) -> Nginx:
        """nginx before the very same server, in a container of the same image."""
        folder = Path(tempfile.mkdtemp(prefix="zb"))
        folder.chmod(0o777)
        command = ["docker", "run", "--detach", "--rm", "--network=none", "--init"]
        command += [f"--volume={folder}:/run/s", self.server.image, "/run/s/s"]
        container = run(command)
        self.ending.callback(run, ["rm", "-rf", str(folder)])
        self.ending.callback(run, ["docker", "rm", "--force", container])
        until(lambda: answers("http://localhost/", folder / "s"))
        nginx = Nginx(folder / "s")
        self.ending.callback(nginx.stop)
        return nginx

    def static(self, name: str) -> dict[str, str | bytes]:
        """The files of a function that is one static program of benchmarks/server."""
        return {"Dockerfile": SCRATCH.format(name), name: self.binary(name)}

    def binary(self, name: str) -> bytes:
        """A program of benchmarks/server, compiled."""
        if name not in self._binaries:
            self._binaries[name] = _compile(SOURCES / f"{name}.c")
        return self._binaries[name]


def _compile(source: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "binary"
        run(["gcc", "-static", "-O2", "-s", "-Wall", "-o", str(binary), str(source)])
        return binary.read_bytes()


def build_image(folder: Path, tag: str) -> None:
    """`docker build` with BuildKit, as a person would type it."""
    command = [_builder(), "build", "--quiet", f"--tag={tag}", str(folder)]
    run(command, DOCKER_BUILDKIT="1")


@cache
def _builder() -> str:
    return run([str(SOURCES.parent.parent / "scripts" / "engine"), "cli"])


def run(command: list[str], **environment: str) -> str:
    """The output of a command that has to succeed."""
    env = {**os.environ, **environment}
    done = subprocess.run(command, check=True, stdout=-1, env=env, text=True)
    return done.stdout.strip()
