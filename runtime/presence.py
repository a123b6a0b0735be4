"""Says who is alive: who runs containers has a row, and the containers carry its id.

Cleanup takes the containers of a row without a heartbeat for lost. A gateway keeps its
row from its own background thread (`watch.py`); what runs containers for a moment only
does it here.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.utils import timezone

from runtime import removal
from runtime.models import Gateway, Installation

_EVERY = 5.0  # seconds between two heartbeats


class Presence:
    """A row of its own; `owner` names its containers: `<installation>-<id>`."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.owner = f"{Installation.current().name}-{self.id}"
        self._next_beat = 0.0

    def beat(self) -> None:
        """Show that we live. Call it several times a second; it writes when due."""
        if time.monotonic() >= self._next_beat:
            Gateway.objects.update_or_create(
                pk=self.id,
                defaults={"pid": os.getpid(), "heartbeat_at": timezone.now()},
            )
            self._next_beat = time.monotonic() + _EVERY


@contextmanager
def present() -> Iterator[Presence]:
    """A presence that begins before the first container and outlives the last."""
    presence = Presence()
    presence.beat()
    try:
        yield presence
    finally:
        # With a container that could not go the row falls silent, and cleanup comes.
        if removal.drain():
            Gateway.objects.filter(pk=presence.id).delete()
