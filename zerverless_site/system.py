"""What this installation is made of and how it is set up, for the System page."""

from __future__ import annotations

import platform
import sqlite3

import django
from django.conf import settings
from django.db import connection

from applications.redact import redact
from zerverless_site.settings import read

_SECRET_PARTS = ("SECRET", "PASSWORD", "TOKEN", "KEY")
_NAMES = {
    "ZERVERLESS_DATA_DIR": "DATA_DIR",
    "ZERVERLESS_DEBUG": "DEBUG",
    "ZERVERLESS_SECRET_KEY": "SECRET_KEY",
}


def versions() -> dict[str, str]:
    """What runs, in the words of a bug report."""
    database = (
        f"SQLite {sqlite3.sqlite_version}"
        if connection.vendor == "sqlite"
        else connection.vendor
    )
    return {
        "Python": platform.python_version(),
        "Django": django.get_version(),
        "Database": database,
        "System": f"{platform.system()} {platform.release()}",
    }


def effective_settings() -> list[dict[str, str]]:
    """Every declared setting with the value in force; of a secret only if it is set."""
    return [
        {"name": item.name, "value": _shown(item.name, item.kind), "about": item.about}
        for item in read.declared
    ]


def _shown(name: str, kind: str) -> str:
    value = getattr(settings, _NAMES.get(name, name))
    if any(part in name for part in _SECRET_PARTS):
        return "set, not shown" if value else ""
    if kind == "on/off":
        return "on" if value else "off"
    if kind == "duration":
        return _duration(int(value))
    if kind == "size":
        return _size(int(value))
    if isinstance(value, list):
        # Port 0 means any (env.parse_reachable), and is not what somebody may write.
        return ", ".join(redact(str(item)).removesuffix(":0") for item in value)
    return redact(str(value))


def _duration(seconds: int) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _size(value: int) -> str:
    for unit in ("", "Ki", "Mi", "Gi"):
        if value % 1024 or not value:
            return f"{value}{unit}"
        value //= 1024
    return f"{value}Ti"
