"""Logins at registries: a docker client gets those of its build, and nothing stays."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from builds import engine_registry, logins
from builds.client import Login
from builds.errors import BuildEngineError, BuildError
from tests.builds.conftest import Maker
from tests.fixtures.registry import ALICE, PrivateRegistry
from tests.fixtures.stack import ROOT


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, settings: Any) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture(scope="module")
def private(
    registry: PrivateRegistry, docker_client: Any, session_image_prefix: str
) -> str:
    """The name of an image that is in the registry only."""
    registry.push(docker_client, "team/base", "for alice", session_image_prefix)
    return f"{registry.host}/team/base:1"


def left(data_dir: Path) -> list[str]:
    return [path.name for path in (data_dir / "docker-logins").glob("*")]


def test_a_client_gets_its_logins_in_a_file_of_its_own(data_dir: Path) -> None:
    """Threat 151: readable by this user only, gone afterwards, in no environment."""
    wanted = [Login("r.example", "ann", "pass/word"), Login("docker.io", "x", "y")]
    with logins.environment(wanted) as env:
        config = Path(env["DOCKER_CONFIG"], "config.json")
        assert json.loads(config.read_text())["auths"] == {
            "r.example": {"auth": base64.b64encode(b"ann:pass/word").decode()},
            "https://index.docker.io/v1/": {"auth": "eDp5"},
        }
        assert [os.stat(p).st_mode & 0o777 for p in (config, config.parent)] == [
            0o600,
            0o700,
        ]
        assert "word" not in str(env)
        logins.sweep()  # another worker's: what is in use stays
        assert config.exists()
    assert left(data_dir) == []


def test_what_a_killed_worker_left_is_swept(data_dir: Path) -> None:
    """Threat 151."""
    script = (
        "import django; django.setup()\n"
        "from builds import logins; from builds.client import Login\n"
        "with logins.environment([Login('r.example', 'a', 'secret')]):\n"
        "    print('made', flush=True); input()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={
            **os.environ,
            "ZERVERLESS_DATA_DIR": str(data_dir),
            "DJANGO_SETTINGS_MODULE": "zerverless_site.settings",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"made\n"
        logins.sweep()
        assert len(left(data_dir)) == 1
        child.send_signal(signal.SIGKILL)
    logins.sweep()
    assert left(data_dir) == []


class Echo(BaseHTTPRequestHandler):
    """A registry that says what it was sent."""

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization", "")
        plain = base64.b64decode(sent.partition(" ")[2]).decode()
        errors = [{"code": "DENIED", "message": f"denied: {sent} is {plain}"}]
        body = json.dumps({"errors": errors}).encode()
        self.send_response(403 if sent else 401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""


def test_what_a_registry_repeats_is_told_without_the_password(
    make_image: Maker,
) -> None:
    """Threat 152: in its error, in the build's log, in what is asked beforehand."""
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        login = Login(f"127.0.0.1:{server.server_port}", "ann", "pass/word")
        name = f"{login.host}/x:1"
        make_image.logins = [login]
        with pytest.raises((BuildError, BuildEngineError)) as caught:
            make_image(f"FROM {name}\n")
        said = [
            caught.value.message,
            make_image.log,
            engine_registry.refusal(name, login),
            engine_registry.login_problem(login),
        ]
        server.shutdown()
    assert "denied" in said[2]
    for text in said:
        for secret in ("pass/word", "pass%2Fword", login.token):
            assert secret not in text


def said_by_processes() -> bytes:
    """The command lines and environments of all processes."""
    found = b""
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                found += (folder / name).read_bytes()
    return found


BUILDERS = ["BuildKit", "the classic builder"]


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_parent_image_comes_from_a_registry_with_a_password(
    builder: str,
    make_image: Maker,
    registry: PrivateRegistry,
    private: str,
    docker_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threats 150 and 151: with the right one, and with no other."""
    if builder != "BuildKit":
        monkeypatch.setattr("builds.client.find", lambda: None)
    dockerfile = (
        f'FROM {private}\nRUN cat /secret.txt # {secrets.token_hex(4)}\nCMD ["true"]\n'
    )
    for wrong in ([], [registry.login(password="not-the-password")]):
        make_image.logins = wrong
        with pytest.raises(BuildError) as caught:
            make_image(dockerfile)
        assert caught.value.code == "build:parent"
        assert "not-the-password" not in caught.value.message
    login = registry.login()
    secrets_seen: list[bool] = []

    def look() -> bool:
        said = said_by_processes()
        secrets_seen.append(ALICE.encode() in said or login.token.encode() in said)
        return False

    make_image.logins, make_image.stop = [login], look
    make_image(dockerfile)
    assert secrets_seen
    assert not any(secrets_seen)
    assert "for alice" in make_image.log
    assert ALICE not in make_image.log
    if builder != "BuildKit":  # it tags what it fetches
        docker_client.images.remove(private)
