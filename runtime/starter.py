"""What starting instances takes: ways to them, and news of their ends."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Self

from django.conf import settings

from runtime import egress, engine, threads
from runtime.bridges import Bridges
from runtime.deaths import Deaths
from runtime.doors import PREFIX
from runtime.errors import ContainerEngineError
from runtime.instance import Instance
from runtime.route import Route
from runtime.sandboxes import Sandboxes
from runtime.ways import Ways

_ATTEMPTS = 3  # a machine under load may be late once

log = logging.getLogger(__name__)


class Starter:
    """Starts instances for `owner`, `<installation>-<gateway>`."""

    def __init__(self, owner: str, ahead: int | None = None) -> None:
        self.owner = owner
        self._ahead = settings.ZERVERLESS_SANDBOXES_AHEAD if ahead is None else ahead
        self._deaths = Deaths(owner)
        self._choosing: asyncio.Task[Ways] | None = None
        self._choose()

    async def start(self, route: Route) -> Instance:
        """An instance of a deployment whose port answers; raises as Instance.start."""
        egress.check(route.config.network)
        ways = await asyncio.shield(self._choose())
        return await Instance.start(route, self.owner, ways, self._deaths)

    async def stop(self) -> None:
        """End what waits. The instances have been stopped before."""
        if self._choosing is not None:
            self._choosing.cancel()
            await asyncio.wait([self._choosing])
            if not self._choosing.cancelled() and not self._choosing.exception():
                await self._choosing.result().stop()
        self._deaths.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _choose(self) -> asyncio.Task[Ways]:
        """The choice, made once; while the engine is away, again."""
        chosen = self._choosing
        if chosen is None or (chosen.done() and chosen.exception()):
            chosen = asyncio.get_running_loop().create_task(self._find_ways())
            self._choosing = chosen
        return chosen

    async def _find_ways(self) -> Ways:
        problem = ""
        for _ in range(_ATTEMPTS):
            try:
                return await self._open_sandboxes()
            except (OSError, ContainerEngineError) as error:
                problem = str(error)
                await threads.run(engine.ping)
        log.warning("no sandboxes, server functions get a bridge network: %s", problem)
        bridges = Bridges(self.owner)
        await bridges.open()
        return bridges

    async def _open_sandboxes(self) -> Sandboxes:
        directory = Path(settings.ZERVERLESS_DOORS_DIR or settings.RUN_DIR)
        name = PREFIX + self.owner.partition("-")[2]
        sandboxes = Sandboxes(self.owner, directory / name, self._deaths, self._ahead)
        try:
            await sandboxes.open()
        except BaseException:
            await sandboxes.stop()
            raise
        return sandboxes
