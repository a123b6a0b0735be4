"""Finds a docker client that can build with BuildKit, and what it may know."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

# Up to 22 BuildKit is built into the client; later ones need the buildx plugin.
_BUILT_IN_BEFORE = 23
_VERSION = re.compile(r"Docker version (\d+)\.")


@dataclass(frozen=True)
class Client:
    """A docker binary that speaks BuildKit."""

    path: str
    version: str


@dataclass(frozen=True)
class ImageRequest:
    """One image to make. `dockerfile` is a path inside the context's tar."""

    tag: str
    dockerfile: str = "Dockerfile"
    target: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 600
    cache: str = ""  # what the ids of cache mounts begin with: the application's own
    own: tuple[str, ...] = ()  # repositories below our prefix that it may build on


@dataclass(frozen=True)
class Login:
    """A user's name and password at a registry; of a namespace, or of everybody."""

    host: str
    username: str
    password: str = field(repr=False)
    namespace: str = ""

    @property
    def token(self) -> str:
        """Both as HTTP's basic authentication and Docker's configuration have them."""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def find() -> Client | None:
    """The first docker on PATH, else /usr/bin/docker, that can use BuildKit.

    The first docker on a PATH may be one that has neither BuildKit nor the plugin.
    """
    return _find(os.environ.get("PATH", os.defpath))


@cache
def _find(path: str) -> Client | None:
    candidates = [f"{directory or '.'}/docker" for directory in path.split(os.pathsep)]
    for candidate in dict.fromkeys([*candidates, "/usr/bin/docker"]):
        if os.access(candidate, os.X_OK) and (version := _speaks_buildkit(candidate)):
            return Client(candidate, version)
    return None


def _speaks_buildkit(path: str) -> str:
    """What `docker --version` says if this client can, else an empty string."""
    version = _output(path, "--version")
    major = _VERSION.match(version)
    if major is None:
        return ""
    if int(major[1]) < _BUILT_IN_BEFORE or _output(path, "buildx", "version"):
        return version.strip()
    return ""


def _output(*argv: str) -> str:
    try:
        done = subprocess.run(
            argv,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def command(client: Client, request: ImageRequest) -> list[str]:
    """The build as a command that reads the context's tar from standard input."""
    return [
        client.path,
        "build",
        "--progress=plain",
        f"--tag={request.tag}",
        f"--file={request.dockerfile}",
        *([f"--target={request.target}"] if request.target else []),
        *(f"--label={key}={value}" for key, value in request.labels.items()),
        f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={request.cache}",
        "-",
    ]


def environment(config: Path | None = None) -> dict[str, str]:
    """All a docker client gets to see: our daemon, and none of the host's logins.

    `config` is the directory of a configuration with logins of ours (`logins.py`).
    """
    shared = _config_directory()
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(shared),
        "LANG": "C.UTF-8",
        "DOCKER_CONFIG": str(config or shared),
        # What buildx remembers is the same for every build.
        "BUILDX_CONFIG": str(shared / "buildx"),
        "DOCKER_HOST": settings.DOCKER_HOST,
        "DOCKER_BUILDKIT": "1",
        # Attestations would make the image an index, whose id cannot be run.
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
        "NO_COLOR": "1",
    }
    if settings.DOCKER_TLS_VERIFY:
        env |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": settings.DOCKER_CERT_PATH}
    return env


def configuration() -> dict[str, Any]:
    """A client's configuration without logins that still finds a user's plugins."""
    plugins = Path(os.environ.get("HOME") or "/root", ".docker", "cli-plugins")
    return {"cliPluginsExtraDirs": [str(plugins)]} if plugins.is_dir() else {}


def _config_directory() -> Path:
    directory = Path(settings.DATA_DIR) / "docker-config"
    directory.mkdir(parents=True, exist_ok=True)
    wanted = json.dumps(configuration())
    file = directory / "config.json"
    if not (file.exists() and file.read_text() == wanted):
        file.write_text(wanted)
    return directory
