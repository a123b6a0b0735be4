"""What `manage.py serve` says when it has started."""

from __future__ import annotations

import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fixtures.functions import image_of
from tests.fixtures.gateway import EchoServer, Gateway, StartGateway
from zerverless_site import sample, setup
from zerverless_site.management.commands.serve import Command

BASE = "http://site.example:8000"


class Supervisor(SimpleNamespace):
    """Of a platform that runs elsewhere; gives up after a while."""

    stopping = False
    left = 300

    def watch_once(self) -> None:
        self.left -= 1
        self.stopping = self.left == 0

    def pause(self, seconds: float) -> None:
        time.sleep(seconds / 2)


@pytest.mark.parametrize(
    ("functions_host", "live"),
    [
        ("", f"{BASE}/demo/hello"),
        ("fn.example", "http://fn.example:8000/demo/hello"),
        ("*.fn.example:81", "http://demo.fn.example:81/hello"),
    ],
)
def test_it_asks_for_its_sample_where_functions_answer(
    start_gateway: StartGateway,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    functions_host: str,
    live: str,
) -> None:
    """And says before how to sign in: nobody knows how long the sample takes."""
    names = {"BASE_URL": BASE, "FUNCTIONS_HOST": functions_host}
    gateway = start_gateway(**{f"ZERVERLESS_{name}": names[name] for name in names})
    for name, value in names.items():
        setattr(settings, f"ZERVERLESS_{name}", value)
    settings.ZERVERLESS_PORT, settings.DATA_DIR = gateway.port, tmp_path
    settings.ZERVERLESS_SAMPLE = True
    web = EchoServer(gateway.web_socket)
    command = Command(stderr=StringIO())
    command.began = time.monotonic()
    before: list[str] = []

    def register() -> None:
        before.append(said(command))
        deploy_sample(gateway)

    monkeypatch.setattr(sample, "register", register)
    monkeypatch.setattr(setup, "is_open", lambda: True)
    try:
        command._welcome(Supervisor())  # type: ignore[arg-type]
    finally:
        web.stop()
    assert f"first login, once: {BASE}/-/setup?token=" in before[0]
    assert f"live: {live}\n" in said(command)


def said(command: Command) -> str:
    text: str = command.stderr._out.getvalue()  # type: ignore[attr-defined]
    return text


def deploy_sample(gateway: Gateway) -> None:
    image = image_of('FROM busybox\nCMD ["echo", "hello"]\n')
    gateway.deploy(sample.PATH, image, namespace=sample.NAMESPACE)
