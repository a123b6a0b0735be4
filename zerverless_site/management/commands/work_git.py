"""`manage.py work_git`: the process that does all Git work; `serve` starts it."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from zerverless_site.git_lane import Lane


class Command(BaseCommand):
    """Poll, sync and test connections until SIGTERM."""

    help = "Do the installation's Git work: polls, syncs, connection tests."

    def handle(self, *args: Any, **options: Any) -> None:
        lane = Lane()

        def stop(number: int, frame: FrameType | None) -> None:
            lane.stop.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        lane.run()
