"""Generated pages and settings: they say what the code does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zerverless_site import reference, settings

ROOT = reference.ROOT


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_generated_pages_are_up_to_date() -> None:
    for path, text in reference.pages().items():
        assert path.read_text() == text, "run python -m zerverless_site.reference"


def test_every_setting_is_documented_once() -> None:
    names = [item.name for item in settings.read.declared]
    assert len(names) == len(set(names))
    page = (ROOT / "docs" / "settings.md").read_text()
    assert all(f"| `{name}` |" in page for name in names)


def test_all_wrong_settings_are_reported_together() -> None:
    result = check(
        ZERVERLESS_PORT="http", ZERVERLESS_POLL_INTERVAL="5 minutes", DOCKER_ENABLED="?"
    )
    assert result.returncode == 2
    for name in ("ZERVERLESS_PORT", "ZERVERLESS_POLL_INTERVAL", "DOCKER_ENABLED"):
        assert name in result.stderr


def test_a_daemon_on_plain_tcp_is_refused() -> None:
    """Threats 37, 87: who reaches it owns the machine."""
    for host in ("tcp://127.0.0.1:2375", "tcp://docker:2376"):
        result = check(DOCKER_HOST=host)
        assert result.returncode == 2
        assert "DOCKER_TLS_VERIFY" in result.stderr


def test_a_setting_can_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("sqlite:////nowhere/at/all.sqlite3\n")
    result = check(DATABASE_URL_FILE=str(secret), ZERVERLESS_DATA_DIR=str(tmp_path))
    assert result.returncode == 0, result.stderr


def test_production_settings_pass_djangos_deployment_check(tmp_path: Path) -> None:
    """Threat 87."""
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={
            **os.environ,
            "ZERVERLESS_BASE_URL": "https://zerverless.example",
            "ZERVERLESS_DATA_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_each_installation_makes_a_secret_key_of_its_own(tmp_path: Path) -> None:
    """Threat 87: no default key; made once, mode 0600, and kept."""
    for name in ("one", "two"):
        assert check(ZERVERLESS_DATA_DIR=str(tmp_path / name)).returncode == 0
    one, two = (tmp_path / name / "secret-key" for name in ("one", "two"))
    assert one.read_text() != two.read_text()
    assert one.stat().st_mode & 0o777 == 0o600
    kept = one.read_text()
    assert check(ZERVERLESS_DATA_DIR=str(tmp_path / "one")).returncode == 0
    assert one.read_text() == kept


@pytest.mark.parametrize("name", ["DEBUG", "SECRET_KEY"])
def test_nothing_unsafe_is_on_by_default(name: str) -> None:
    """Threat 87."""
    declared = {item.name: item.default for item in settings.read.declared}
    assert declared[f"ZERVERLESS_{name}"] in {"off", ""}
