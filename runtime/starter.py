"""What starting instances takes: doors, sandboxes, news of deaths. One in a process."""

from __future__ import annotations

from typing import Self

from django.conf import settings

from runtime.deaths import Deaths
from runtime.doors import Doors
from runtime.instance import LABEL, Instance
from runtime.route import Route
from runtime.sandboxes import Sandboxes


class Starter:
    """Starts instances for `owner`, `<installation>-<gateway>`."""

    def __init__(self, owner: str, ahead: int | None = None) -> None:
        self.owner = owner
        gateway = owner.partition("-")[2]
        self._doors = Doors(settings.RUN_DIR / f"door-{gateway}")
        self._doors.start()
        ahead = settings.ZERVERLESS_SANDBOXES_AHEAD if ahead is None else ahead
        self._sandboxes = Sandboxes(owner, self._doors, ahead)
        self._sandboxes.refill()
        self._deaths = Deaths(f"{LABEL}={owner}")

    async def start(self, route: Route) -> Instance:
        """An instance of a deployment whose port answers; raises as Instance.start."""
        return await Instance.start(route, self.owner, self._sandboxes, self._deaths)

    async def stop(self) -> None:
        """End what waits. The instances have been stopped before."""
        await self._sandboxes.stop()
        self._deaths.stop()
        self._doors.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
