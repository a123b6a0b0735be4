"""What must be true before any process starts; run by each, done by the first."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command

from runtime.models import Installation

log = logging.getLogger(__name__)


def prepare() -> None:
    """Ensure database, static files and the administrator are there."""
    settings.RUN_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _lock():
        call_command("migrate", interactive=False, verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        Installation.current()
        _first_admin()


def _first_admin() -> None:
    """Make the administrator of ZERVERLESS_ADMIN_PASSWORD, once."""
    password = settings.ZERVERLESS_ADMIN_PASSWORD
    if password and not User.objects.filter(is_superuser=True).exists():
        User.objects.create_superuser(
            settings.ZERVERLESS_ADMIN_USERNAME, password=password
        )


@contextmanager
def _lock() -> Iterator[None]:
    """One process at a time: gateway, web and worker may start together."""
    with (settings.DATA_DIR / "preflight.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
