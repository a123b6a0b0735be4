"""Settings from the environment: what is wrong is said at once and of all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zerverless_site import settings
from zerverless_site.env import parse_networks, parse_reachable

ROOT = Path(__file__).parent.parent.parent


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py check`, as somebody with these settings would type it."""
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_wrong_setting_is_named_with_what_to_write() -> None:
    done = check(
        DOCKER_HOST="tcp://engine:2375",
        ZERVERLESS_EGRESS="perhaps",
        ZERVERLESS_EGRESS_ALLOW="10.0.0.5, db:5432",
        ZERVERLESS_PORT="80000",
        ZERVERLESS_TRUSTED_PROXIES="proxy.local",
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "Settings cannot be used:\n"
        "  DOCKER_HOST: tcp:// needs DOCKER_TLS_VERIFY=on and DOCKER_CERT_PATH\n"
        '  ZERVERLESS_EGRESS: "perhaps" is not a switch: write on or off\n'
        "  ZERVERLESS_EGRESS_ALLOW: \"db:5432\": Expected 4 octets in 'db': write "
        "ADDRESS or ADDRESS/BITS, :PORT behind it or not\n"
        "  ZERVERLESS_PORT: 80000 is not between 1 and 65535\n"
        "  ZERVERLESS_TRUSTED_PROXIES: 'proxy.local' does not appear to be an IPv4 or "
        "IPv6 network: write ADDRESS or ADDRESS/BITS\n"
    )


def test_all_wrong_settings_are_reported_together() -> None:
    result = check(
        ZERVERLESS_PORT="http", ZERVERLESS_POLL_INTERVAL="9s", DOCKER_ENABLED="?"
    )
    assert result.returncode == 2
    for name in ("ZERVERLESS_PORT", "ZERVERLESS_POLL_INTERVAL", "DOCKER_ENABLED"):
        assert name in result.stderr


def test_more_than_the_guard_has_room_for_is_refused() -> None:
    many = ",".join(f"10.0.0.{number}" for number in range(40))
    done = check(ZERVERLESS_EGRESS_ALLOW=many)
    assert done.returncode == 2
    assert "ZERVERLESS_EGRESS_ALLOW: 40 of them, and at most 32 may be" in done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.5", "10.0.0.5/32:0"),
        ("10.0.0.5:5432", "10.0.0.5/32:5432"),
        ("10.0.0.0/8", "10.0.0.0/8:0"),
        ("192.168.0.0/16:80", "192.168.0.0/16:80"),
        ("0.0.0.0/0", "0.0.0.0/0:0"),
    ],
)
def test_what_functions_may_reach(text: str, found: str) -> None:
    assert parse_reachable(f" {text},{text} ") == [found, found]


@pytest.mark.parametrize(
    "text",
    [
        *("db", "10.0.0", "10.0.0.5/8", "10.0.0.5/33", "10.0.0.5/ 8", "10.0.0.5:"),
        *("10.0.0.5:0", "10.0.0.5:x", "10.0.0.5:65536", "10.0.0.5:80:80", "fd00::1"),
    ],
)
def test_what_nobody_could_mean(text: str) -> None:
    with pytest.raises(ValueError, match="write ADDRESS or ADDRESS/BITS, :PORT"):
        parse_reachable(text)


def test_proxies_are_addresses_or_networks() -> None:
    found = [*map(str, parse_networks("10.0.0.5, 10.0.0.5/8, fd00::1/64"))]
    assert found == ["10.0.0.5/32", "10.0.0.0/8", "fd00::/64"]
    with pytest.raises(ValueError, match="write ADDRESS or ADDRESS/BITS"):
        parse_networks("proxy")


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
