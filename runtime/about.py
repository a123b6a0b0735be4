"""Which Zerverless this is: its version, and the commit where there is a checkout."""

from __future__ import annotations

import tomllib
from functools import lru_cache

from django.conf import settings


@lru_cache(maxsize=1)
def version() -> str:
    """The version in pyproject.toml."""
    text = (settings.BASE_DIR / "pyproject.toml").read_text()
    return str(tomllib.loads(text)["project"]["version"])


@lru_cache(maxsize=1)
def commit() -> str:
    """What is checked out here, "" where that cannot be told (in an image)."""
    git = settings.BASE_DIR / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        name = head.removeprefix("ref: ")
        return head if name == head else (git / name).read_text().strip()
    except OSError:
        return ""
