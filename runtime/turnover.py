"""From one route table to the next, without a request that waits for a start.

What a new table says holds at once, with one exception: a server function in use goes
on answering with its old deployment until one instance of the new one is ready. All of
this runs in the gateway's event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from django.conf import settings

from runtime.errors import InvocationError
from runtime.instances import Instances
from runtime.route import Route
from runtime.routes import RouteTable

_RETRY = 1.0

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Hold:
    """An old deployment that answers in place of the new one, `until` at the latest."""

    old: Route
    new: Route
    until: float  # time.monotonic()
    task: asyncio.Task[None] | None = None


class Turnover:
    """Gives out every table the way requests are to use it, through `publish`."""

    def __init__(
        self, instances: Instances, publish: Callable[[RouteTable], None]
    ) -> None:
        self._instances = instances
        self._publish = publish
        self._newest = self._current = RouteTable()
        self._holds: dict[int, Hold] = {}  # by the old deployment
        self._is_stopped = False
        instances.successor = lambda route: self._current.at(route)

    def arrive(self, table: RouteTable) -> None:
        """Go over to a newer table."""
        if self._is_stopped:
            return
        self._newest = table
        dropped = self._drop_overtaken()
        ended: list[tuple[Route, Route | None]] = []
        for fleet in list(self._instances.fleets.values()):
            old, new = fleet.route, table.at(fleet.route)
            if _is_same(old, new) or old.deployment_id in self._holds:
                continue
            is_current = _is_same(old, self._current.at(old))
            if new and new.is_server and is_current and fleet.is_in_use(monotonic()):
                self._hold(old, new, dropped.get(old.deployment_id))
            else:
                ended.append((old, new))
        self._use()
        for old, new in ended:
            self._instances.close(old, new)
        self._instances.keep(table.kept)

    def stop(self) -> None:
        """Wait for no instance any more."""
        self._is_stopped = True
        for hold in self._holds.values():
            if hold.task is not None:
                hold.task.cancel()

    def _use(self) -> None:
        held = [hold.old for hold in self._holds.values()]
        self._current = self._newest.holding(held)
        self._publish(self._current)

    def _hold(self, old: Route, new: Route, until: float | None) -> None:
        patience = settings.ZERVERLESS_COLD_START_TIMEOUT
        hold = Hold(old, new, until or monotonic() + patience)
        self._holds[old.deployment_id] = hold
        hold.task = asyncio.get_running_loop().create_task(self._replace(hold))

    def _drop_overtaken(self) -> dict[int, float]:
        """Forget what is not to come any more; how long its old one was to be held:
        however many deployments follow each other, that time is one."""
        dropped = {}
        for key, hold in list(self._holds.items()):
            if not _is_same(hold.new, self._newest.at(hold.old)):
                del self._holds[key]
                dropped[key] = hold.until
                if hold.task is not None:
                    hold.task.cancel()
        return dropped

    async def _replace(self, hold: Hold) -> None:
        """Start the new deployment, then let it take over."""
        if not await self._is_ready(hold):
            log.warning("v%s of %s is late", hold.new.number, hold.new.path)
        del self._holds[hold.old.deployment_id]
        self._use()
        self._instances.close(hold.old, hold.new)

    async def _is_ready(self, hold: Hold) -> bool:
        """Wait for one instance. It was checked before it went live, so that a failure
        is more likely ours than its own: it is tried again."""
        while (left := hold.until - monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    instance = await self._instances.open(hold.new).wait()
            except InvocationError as error:
                log.warning("v%s of %s: %s", hold.new.number, hold.new.path, error)
                await asyncio.sleep(min(_RETRY, left))
            except TimeoutError:
                return False
            else:
                self._instances.give_back(instance)
                return True
        return False


def _is_same(one: Route, other: Route | None) -> bool:
    return other is not None and one.deployment_id == other.deployment_id
