"""All instances of one gateway: who gets a request, and what starts, rests and ends.

A fleet (runtime/fleet.py) has the instances of one deployment; what they share is here:
the memory, the engine, the clock. Nothing is locked: all of it belongs to the gateway's
event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator
from time import monotonic, time
from typing import Any

from runtime.errors import NoRoute, Unavailable
from runtime.fleet import Fleet
from runtime.instance import Instance
from runtime.leaving import Leaving
from runtime.memory import Memory, budget
from runtime.models import InstanceState
from runtime.route import Route

TICK = 1.0
WEDGED = 3  # requests in a row without any answer in time
_STOP_SECONDS = 8.0

log = logging.getLogger(__name__)

Start = Callable[[Route], Coroutine[Any, Any, Instance]]


class Instances:
    """The instances of server functions; `start` makes one and raises as it does."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self.memory = Memory(budget())
        self.fleets: dict[int, Fleet] = {}  # by deployment
        self.leaving = Leaving(self.spawn, lambda one: self.unreserve(one.fleet))
        # What answers now where an older route did; the route table knows.
        self.successor: Callable[[Route], Route | None] = lambda route: route
        self._hungry: dict[Fleet, None] = {}  # those that lack memory, in order
        self._tasks: set[asyncio.Task[None]] = set()
        self._launching: set[asyncio.Task[Any]] = set()
        # More at once only make each other slow.
        self._starts = asyncio.Semaphore(2 * (os.cpu_count() or 1) + 2)
        self._ticking: asyncio.TimerHandle | None = None
        self._is_stopped = False

    # -- requests ---------------------------------------------------------------------

    def acquire(self, route: Route) -> Instance | None:
        """A ready instance of exactly this deployment, one of its slots taken; None
        where there is none with room, or others wait for one already."""
        fleet = self.fleets.get(route.deployment_id)
        return fleet.acquire() if fleet is not None else None

    async def wait(self, route: Route) -> Instance:
        """The same as soon as there is one, of this deployment or of the one that has
        replaced it meanwhile: see `instance.route`. Raises InvocationError."""
        if route.config.memory > self.memory.limit:
            raise Unavailable("The function needs more memory than there is for all.")
        return await self._fleet_for(route).wait()

    def release(
        self,
        instance: Instance,
        *,
        broken: bool = False,
        answered: bool | None = None,
        now: float = 0.0,
    ) -> None:
        """Give a slot back. `answered`: whether the request got any answer in time,
        None if it was never sent. A broken instance gets no more requests; nor does
        one that left several in a row unanswered."""
        if answered:
            instance.silent = 0
        elif answered is False:
            instance.silent += 1
            broken = broken or instance.silent >= WEDGED
        instance.last_used = now or monotonic()
        if broken:
            instance.fleet.discard(instance)
        self.give_back(instance)

    def give_back(self, instance: Instance) -> None:
        """A slot that was taken, whether or not it was used."""
        instance.in_flight -= 1
        if instance.state is InstanceState.ENDING:
            self.leaving.released(instance)
        elif instance.fleet.line.tickets:
            instance.fleet.balance()
        elif self._hungry and not instance.in_flight:
            self._feed()

    def _fleet_for(self, route: Route) -> Fleet:
        fleet = self.fleets.get(route.deployment_id)
        if fleet is not None:
            return fleet
        current = self.successor(route)
        if current is None:
            raise NoRoute("No function answers at this path.")
        if not current.is_server:
            raise Unavailable("The function was just replaced.", retry_after=1)
        return self.open(current)

    # -- deployments ------------------------------------------------------------------

    def open(self, route: Route) -> Fleet:
        """The fleet of a deployment, made where there is none yet."""
        fleet = self.fleets.get(route.deployment_id)
        if fleet is None:
            if self._is_stopped:
                raise Unavailable("The platform is stopping.")
            fleet = self.fleets[route.deployment_id] = Fleet(route, self)
            self._wind_up()
        return fleet

    def close(self, route: Route, successor: Route | None = None) -> None:
        """Let a deployment's instances drain; who waits for one goes to `successor`."""
        fleet = self.fleets.pop(route.deployment_id, None)
        if fleet is not None:
            takes_over = successor is not None and successor.is_server
            fleet.close(self.open(successor) if successor and takes_over else None)

    def keep(self, routes: Iterable[Route]) -> None:
        """Ensure the instances these routes always want are on their way."""
        for route in routes:
            self.open(route).balance()

    async def stop(self) -> None:
        """End every instance, at once and all together."""
        self._is_stopped = True
        if self._ticking is not None:
            self._ticking.cancel()
        for fleet in list(self.fleets.values()):
            self.close(fleet.route)
        for instance in list(self.leaving.draining):
            self.leaving.end(instance)
        for task in self._launching:
            task.cancel()
        until = monotonic() + _STOP_SECONDS
        while self._tasks and (left := until - monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        for task in self._tasks:
            task.cancel()

    def all(self) -> Iterator[Instance]:
        """Every instance there is, those that are ending too."""
        for fleet in list(self.fleets.values()):
            yield from [*fleet.ready, *fleet.paused, *fleet.moving]
        yield from [*self.leaving.draining, *self.leaving.ending]

    # -- what fleets share (runtime.fleet.House) --------------------------------------

    async def launch(self, fleet: Fleet) -> Instance:
        """A new instance whose port answers; its memory was reserved."""
        began = time()
        task = asyncio.current_task()
        assert task is not None
        self._launching.add(task)
        try:
            async with self._starts:
                if fleet.is_closed:
                    raise Unavailable("The function was just replaced.")
                instance = await self._start(fleet.route)
        finally:
            self._launching.discard(task)
        instance.fleet, instance.on_exit = fleet, fleet.died
        instance.started_at = began
        instance.cold_ms = round((time() - began) * 1000, 1)
        instance.ready_at = monotonic()
        return instance

    def reserve(self, fleet: Fleet) -> bool:
        """Take the memory of one more instance. Where there is not enough, see to it
        that there will be: idle instances go, the one used least recently first."""
        size = fleet.route.config.memory
        if self.memory.take(size):
            return True
        self._hungry[fleet] = None
        for victim in self._victims(fleet, size):
            victim.fleet.discard(victim)
        return False

    def _victims(self, fleet: Fleet, size: int) -> list[Instance]:
        """Others' idle instances whose end would make the room; none if it would not,
        or if what is ending already does."""
        now = monotonic()
        room = sum(_memory_of(one) for one in self.leaving.ending)
        others = [one for one in self.fleets.values() if one is not fleet]
        spare = [one for other in others for one in other.spare(now)]
        victims: list[Instance] = []
        for instance in sorted(spare, key=lambda one: one.last_used):
            if self.memory.has(size - room):
                return victims
            victims.append(instance)
            room += _memory_of(instance)
        return victims if self.memory.has(size - room) else []

    def unreserve(self, fleet: Fleet) -> None:
        """The memory of an instance that is gone, or did not come to be."""
        self.memory.give_back(fleet.route.config.memory)
        self._feed()

    def leave(self, instance: Instance, *, at_once: bool = False) -> None:
        """Have an instance ended, once its requests are through or at once."""
        self.leaving.add(instance, at_once=at_once)

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""
        running = asyncio.get_running_loop().create_task(task)
        self._tasks.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an instance's task failed", exc_info=error)

    def _feed(self) -> None:
        """Memory may be free: those that lack some try again, longest waiting first."""
        hungry, self._hungry = self._hungry, {}
        for fleet in hungry:
            fleet.balance()

    # -- the clock --------------------------------------------------------------------

    def _wind_up(self) -> None:
        if self._ticking is None:
            loop = asyncio.get_running_loop()
            self._ticking = loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        now = monotonic()
        for fleet in list(self.fleets.values()):
            fleet.rest(now)
            if fleet.is_over(now):
                del self.fleets[fleet.route.deployment_id]
        if self.fleets:
            self._wind_up()


def _memory_of(instance: Instance) -> int:
    return instance.fleet.route.config.memory
