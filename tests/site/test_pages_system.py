"""The System page shows every setting in the form in which it is written."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from zerverless_site.env import Reader
from zerverless_site.settings import read

# How a setting is read -> one such setting, what somebody writes, what the page shows.
KINDS = {
    "text": ("ZERVERLESS_FUNCTIONS_HOST", "run.example", "run.example"),
    "choice": ("ZERVERLESS_LOG_LEVEL", "Debug", "debug"),
    "integer": ("ZERVERLESS_KEEP_IMAGES", "7", "7"),
    "duration": ("ZERVERLESS_POLL_INTERVAL", "90s", "90s"),
    "size": ("ZERVERLESS_REPOSITORY_MAX", "1536Mi", "1536Mi"),
    "switch": ("ZERVERLESS_EGRESS", "off", "off"),
    "words": ("ZERVERLESS_GIT_PROTOCOLS", "https,file", "https, file"),
    "networks": (
        "ZERVERLESS_TRUSTED_PROXIES",
        "10.0.0.0/8, fd00::1",
        "10.0.0.0/8, fd00::1/128",
    ),
    "reachable": (
        "ZERVERLESS_EGRESS_ALLOW",
        "10.0.0.5:5432,10.0.0.0/8",
        "10.0.0.5/32:5432, 10.0.0.0/8",
    ),
    "git_allow": (
        "ZERVERLESS_GIT_ALLOW",
        "git.example:8443,10.0.0.0/8",
        "git.example:8443, 10.0.0.0/8",
    ),
}


@pytest.fixture
def shown(dashboard: Client) -> Any:
    """What the page shows, by name."""

    def look() -> dict[str, str]:
        page = dashboard.get(reverse("system"))
        assert page.status_code == 200
        return {row["name"]: row["value"] for row in page.context["settings"]}

    return look


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_value_is_shown(
    shown: Any, settings: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """ZERVERLESS_TRUSTED_PROXIES, a list of networks, made this page a TypeError."""
    name, written, expected = KINDS[kind]
    monkeypatch.setenv(name, written)
    options = {"choice": ("info", "debug")}.get(kind, ())
    setattr(settings, name, getattr(Reader(), kind)(name, written, "", *options))
    assert shown()[name] == expected


def test_no_setting_and_no_kind_is_left_out(shown: Any) -> None:
    """A setting that is declared but not to be found raises, and is seen here."""
    assert set(shown()) == {setting.name for setting in read.declared}
    others = {"refuse", "finish"}
    ways = {name for name in vars(Reader) if not name.startswith("_")} - others
    assert ways == set(KINDS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1, "1"), (1536, "1536"), (1 << 40, "1Ti"), (3 << 29, "1536Mi")],
)
def test_a_size_is_exact(shown: Any, settings: Any, value: int, expected: str) -> None:
    settings.ZERVERLESS_INSTANCE_MEMORY = value
    assert shown()["ZERVERLESS_INSTANCE_MEMORY"] == expected
