"""Hands a docker client the logins of one build, and takes them back whatever happens.

They are in a file only this user can read, never on a command line and never in an
environment. Whoever made a directory holds a lock on it; the kernel lets go of it when
that process dies, so what a killed worker left can be told from what is in use.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from django.conf import settings

from builds import client, references
from builds.client import Login

# What Docker Hub is called in a client's configuration (docker/registry, IndexServer).
_HUB_SERVER = "https://index.docker.io/v1/"
_HIDDEN_MIN = 4  # a shorter one is no secret, and part of many words


@contextmanager
def environment(logins: Sequence[Login]) -> Iterator[dict[str, str]]:
    """A docker client's environment, in which it finds these logins and no others."""
    if not logins:
        yield client.environment()
        return
    with _own_directory() as directory:
        auths = {server(login.host): {"auth": login.token} for login in logins}
        file = directory / "config.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({**client.configuration(), "auths": auths}))
        yield client.environment(directory)


def server(host: str) -> str:
    """A registry's host as Docker's configuration and API name it."""
    return _HUB_SERVER if host == references.DOCKER_HUB else host


def hide(text: str, logins: Sequence[Login]) -> str:
    """`text` without the passwords, in every form in which they are sent."""
    for login in logins:
        for secret in (login.token, login.password, quote(login.password, safe="")):
            if len(secret) >= _HIDDEN_MIN:
                text = text.replace(secret, "***")
    return text


def sweep() -> None:
    """Remove what killed workers left."""
    with _locked_parent() as parent:
        _remove_leftovers(parent)


@contextmanager
def _own_directory() -> Iterator[Path]:
    with _locked_parent() as parent:
        _remove_leftovers(parent)
        directory = Path(tempfile.mkdtemp(dir=parent))  # mode 0700
        held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)


@contextmanager
def _locked_parent() -> Iterator[Path]:
    """The directory of them all, in which nobody else makes or sweeps meanwhile."""
    parent = Path(settings.DATA_DIR) / "docker-logins"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield parent
    finally:
        os.close(held)


def _remove_leftovers(parent: Path) -> None:
    for directory in parent.iterdir():
        try:
            held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # its owner has just removed it
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        except BlockingIOError:
            pass  # in use
        finally:
            os.close(held)
