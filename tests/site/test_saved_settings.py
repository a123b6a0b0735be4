"""Commands beside a running installation use the settings that `serve` saved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.stack import ROOT
from zerverless_site import saved_settings
from zerverless_site.settings import read

COMMAND = ["manage.py", "add_application"]
SHOW = """
from django.conf import settings
print(settings.ZERVERLESS_GIT_PROTOCOLS, settings.DATABASE_URL)
"""
NAMES = [setting.name for setting in read.declared]


def adopted(data_dir: Path, environment: dict[str, str], *argv: str) -> dict[str, str]:
    """The environment a command ends up with."""
    found = dict(environment)
    saved_settings.adopt(found, data_dir, argv or COMMAND)
    return found


def test_a_command_needs_only_the_data_directory(tmp_path: Path) -> None:
    """As typed beside `make run`: its Git protocols and its database, not the defaults.
    The file is for its owner alone, and holds nothing that is no setting (threat 145).
    """
    database = f"sqlite:///{tmp_path}/other.sqlite3"
    serve = {
        "ZERVERLESS_GIT_PROTOCOLS": "https,http,file",
        "DATABASE_URL": database,
        "ZERVERLESS_ADMIN_PASSWORD": "used once",
        "AWS_SECRET_ACCESS_KEY": "of something else",
    }
    saved_settings.save(tmp_path, NAMES, serve)
    saved = tmp_path / saved_settings.NAME
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "used once" not in saved.read_text()
    assert "of something else" not in saved.read_text()
    done = subprocess.run(
        [sys.executable, ROOT / "manage.py", "shell", "-v0", "-c", SHOW],
        env={"ZERVERLESS_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == f"['https', 'http', 'file'] {database}"


@pytest.mark.parametrize(
    ("own", "argv", "seen"),
    [
        ({}, (), "saved"),
        ({"ZERVERLESS_BIND": "own"}, (), "own"),
        ({"ZERVERLESS_BIND": ""}, (), ""),
        ({"ZERVERLESS_BIND_FILE": "/own"}, (), None),
        ({"ZERVERLESS_PROCESS": "worker-control"}, ("manage.py", "qcluster"), None),
        ({}, ("manage.py", "serve"), None),
        ({}, ("manage.py", "check"), None),
    ],
)
def test_the_own_environment_comes_first(
    tmp_path: Path, own: dict[str, str], argv: tuple[str, ...], seen: str | None
) -> None:
    saved_settings.save(tmp_path, NAMES, {"ZERVERLESS_BIND": "saved"})
    assert adopted(tmp_path, own, *argv).get("ZERVERLESS_BIND") == seen


def test_a_value_from_a_file_stays_in_that_file(tmp_path: Path) -> None:
    saved_settings.save(tmp_path, NAMES, {"DATABASE_URL_FILE": "/run/secrets/url"})
    assert adopted(tmp_path, {}) == {"DATABASE_URL_FILE": "/run/secrets/url"}
    assert adopted(tmp_path, {"DATABASE_URL": "own"}) == {"DATABASE_URL": "own"}


def test_the_next_start_forgets_what_is_no_longer_set(tmp_path: Path) -> None:
    saved_settings.save(tmp_path, NAMES, {"ZERVERLESS_BIND": "0.0.0.0"})
    saved_settings.save(tmp_path, NAMES, {})
    assert adopted(tmp_path, {}) == {}


@pytest.mark.parametrize("text", ["{", "\0", '["a"]', '{"ZERVERLESS_BIND": 1}'])
def test_what_serve_did_not_write_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / saved_settings.NAME).write_text(text)
    assert adopted(tmp_path, {}) == {}
    said = capsys.readouterr().err
    assert ("only this command's environment" in said) == (text in {"{", "\0"})
