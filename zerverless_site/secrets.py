"""Secrets made once per installation and kept in the data directory, mode 0600."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def read_or_create(path: Path) -> str:
    """Return the secret in `path`; the first of several racing processes makes it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        # link() fails where the name exists: a reader never sees a half-written key.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()


def keys(given: list[str], path: Path) -> list[str]:
    """The keys that were given, or the one in `path`, made when it is not there."""
    return given or read_or_create(path).split()
