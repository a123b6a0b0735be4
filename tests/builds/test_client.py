"""Which docker binary builds, and what it gets to know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builds import client, limits
from builds.client import Client, ImageRequest

PLAIN = 'case "$1" in --version) echo "Docker version {}, build x";; *) exit 1;; esac'
PLUGIN = (
    'case "$1" in --version) echo "Docker version {}, build x";; *) echo v0.12;; esac'
)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    client._find.cache_clear()
    yield
    client._find.cache_clear()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b:/usr/bin:/bin")
    return tmp_path


def install(path: Path, name: str, script: str, version: str = "") -> str:
    file = path / name / "docker"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{script.format(version)}\n")
    file.chmod(0o755)
    return str(file)


def test_the_first_client_that_can_is_taken(path: Path) -> None:
    """The first on the PATH may have neither BuildKit nor the plugin."""
    install(path, "a", PLAIN, "28.2.2")
    second = install(path, "b", PLUGIN, "28.2.2")
    assert client.find() == Client(second, "Docker version 28.2.2, build x")


@pytest.mark.parametrize(
    ("script", "version", "can"),
    [
        (PLAIN, "20.10.24+dfsg1", True),
        (PLAIN, "22.06.0", True),
        (PLAIN, "23.0.0", False),
        (PLUGIN, "29.1.0", True),
        ("echo podman version 5", "", False),
        ("exit 3", "", False),
    ],
)
def test_what_a_client_can_is_asked_not_assumed(
    path: Path, script: str, version: str, *, can: bool
) -> None:
    mine = install(path, "a", script, version)
    found = client.find()
    assert (found is not None and found.path == mine) is can


def test_a_broken_binary_is_passed_over(path: Path) -> None:
    Path(install(path, "a", "")).write_bytes(b"\x7fELF nonsense")
    second = install(path, "b", PLUGIN, "28.0.0")
    found = client.find()
    assert found is not None
    assert found.path == second


def test_the_daemon_is_named_with_its_keys(settings: Any) -> None:
    settings.DOCKER_HOST = "tcp://docker:2376"
    settings.DOCKER_TLS_VERIFY, settings.DOCKER_CERT_PATH = True, "/certs/client"
    environment = client.environment()
    assert environment["DOCKER_HOST"] == "tcp://docker:2376"
    assert environment["DOCKER_TLS_VERIFY"] == "1"
    assert environment["DOCKER_CERT_PATH"] == "/certs/client"


def test_nothing_of_the_host_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat 55: neither logins nor secrets of the platform, and no build arguments."""
    for name in ("DOCKER_AUTH_CONFIG", "ZERVERLESS_SECRET_KEY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("DOCKER_CONFIG", "/root/.docker")
    environment = client.environment()
    assert "secret" not in environment.values()
    config = Path(environment["DOCKER_CONFIG"])
    assert config.name == "docker-config"
    assert "auths" not in "".join(
        file.read_text() for file in config.glob("config.json")
    )


def test_the_command_holds_what_was_asked_for() -> None:
    request = ImageRequest("z/a:1", "d/File", "two", {"k": "v w"})
    command = client.command(Client("/usr/bin/docker", ""), request)
    assert command[0] == "/usr/bin/docker"
    assert command[-1] == "-"
    wanted = {"--tag=z/a:1", "--file=d/File", "--target=two", "--label=k=v w"}
    assert wanted <= set(command)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2147483648", "may use 2.0 GiB of memory together"),
        ("9223372036854771712", "no memory limit"),
        ("max", "no memory limit"),
        (None, "no memory limit"),
    ],
)
def test_a_log_says_what_builds_may_use(
    text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "memory.max"
    if text is not None:
        file.write_text(f"{text}{os.linesep}")
    monkeypatch.setattr(limits, "MEMORY_FILES", (file,))
    assert words in limits.sentence()
