"""The instances of one deployment: as many as the demand wants, from none to its most.

The demand is the requests in flight and in line, divided by what one instance takes at
once. All of this runs in the gateway's event loop, so nothing is locked, and whatever
has no `await` in it happens in one go.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Protocol

from django.conf import settings

from runtime.backoff import Backoff
from runtime.errors import (
    ContainerEngineError,
    FunctionFailed,
    InvocationError,
    NoFreeInstance,
    Starting,
    TooManyRequests,
    Unavailable,
)
from runtime.instance import Instance
from runtime.line import Line
from runtime.models import InstanceState
from runtime.route import Route

YOUNG = 5.0  # seconds: what ends sooner after its start may do so again and again
_LATELY = 60.0
_AWAY = "Functions cannot be run right now. Try again soon."
_LIFE_MIN = 1.0  # so that two functions on too little memory are not always starting

log = logging.getLogger(__name__)


class House(Protocol):
    """What all fleets of a gateway share: runtime.instances.Instances."""

    async def launch(self, fleet: Fleet) -> Instance:
        """A new instance whose port answers; its memory was reserved."""

    def reserve(self, fleet: Fleet) -> bool:
        """Take the memory of one more instance, or see to it that there will be."""

    def unreserve(self, fleet: Fleet) -> None:
        """The memory of an instance that did not come to be."""

    def leave(self, instance: Instance, *, at_once: bool = False) -> None:
        """Have an instance ended, once its requests are through or at once."""

    def give_back(self, instance: Instance) -> None:
        """A slot that was taken and not used."""

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""


class Fleet:
    """The instances of one deployment, and the line before them."""

    def __init__(self, route: Route, house: House) -> None:
        self.route = route
        self.slots = (
            route.config.concurrency or settings.ZERVERLESS_INSTANCE_CONCURRENCY
        )
        self.ready: list[Instance] = []
        self.paused: list[Instance] = []  # the one used last at the end
        self.moving: set[Instance] = set()  # between these two
        self.starting = 0
        self.backoff = Backoff()
        self.line = Line(self._too_late, house.give_back)
        self.is_closed = False
        self._house = house

    @property
    def size(self) -> int:
        """Instances that are there or on their way."""
        return len(self.ready) + len(self.paused) + len(self.moving) + self.starting

    @property
    def kept(self) -> int:
        """How many stay, and stay awake, even if nobody calls."""
        return self.route.config.min_instances

    # -- requests ---------------------------------------------------------------------

    def acquire(self) -> Instance | None:
        """The instance with most room, a slot of it taken; None: one has to wait."""
        return None if self.line.tickets else self._take()

    def _take(self) -> Instance | None:
        found, least = None, self.slots
        for instance in self.ready:
            if instance.in_flight < least:
                found, least = instance, instance.in_flight
        if found is not None:
            found.in_flight = least + 1
        return found

    async def wait(self) -> Instance:
        """The same as soon as it is this request's turn; raises InvocationError."""
        found = self.acquire()
        if found is not None:
            return found
        if len(self.line) >= settings.ZERVERLESS_INSTANCE_QUEUE:
            raise TooManyRequests("Too many requests wait for this function already.")
        ticket = self.line.join()
        self.balance()
        return await ticket.turn(settings.ZERVERLESS_COLD_START_TIMEOUT)

    def _too_late(self) -> InvocationError:
        if self.ready:
            return NoFreeInstance("Every instance of the function is busy.")
        if self.size:
            return Starting("The function is starting. Try again in a moment.")
        return NoFreeInstance("There is no memory for an instance of the function.")

    # -- how many ---------------------------------------------------------------------

    def balance(self) -> None:
        """Ensure who waits is served, and that what the demand wants is on its way."""
        if self.is_closed:
            return
        while self.line and (free := self._take()) is not None:
            self.line.serve(free)
        lacking = self._wanted() - len(self.ready) - len(self.moving) - self.starting
        while lacking > 0 and self.paused:
            self._move(self.paused.pop(), InstanceState.RESUMING)
            lacking -= 1
        while lacking > 0 and self._may_start():
            self.starting += 1
            self._house.spawn(self._start())
            lacking -= 1
        if self.line and not self.size:
            self._give_up()

    def _wanted(self) -> int:
        demand = sum(one.in_flight for one in self.ready) + len(self.line)
        wanted = max(math.ceil(demand / self.slots), self.kept)
        return min(wanted, self.route.config.max_instances)

    def _may_start(self) -> bool:
        """Whether one more may start now; takes its memory."""
        return (
            self.size < self.route.config.max_instances
            and self.backoff.is_over(monotonic())
            and self._house.reserve(self)
        )

    def _give_up(self) -> None:
        """Tell who waits why there will be no instance soon, if that is so."""
        error = self.backoff.error(monotonic())
        if error is not None:
            self.line.fail(error)

    def rest(self, now: float) -> None:
        """Pause what had no request for seconds, give up what had none for minutes."""
        spare = len(self.ready) - self.kept
        for instance in reversed(self.ready.copy()):
            quiet = now - instance.last_used
            if instance.in_flight or spare <= 0 or quiet < _shortest(self.route):
                continue
            spare -= 1
            if quiet >= self.route.config.idle:
                self.discard(instance)
            else:
                self.ready.remove(instance)
                self._move(instance, InstanceState.PAUSING)
        for instance in self.paused.copy():
            if now - instance.last_used >= self.route.config.idle:
                self.discard(instance)
        self.balance()

    def spare(self, now: float) -> list[Instance]:
        """Those another function may take the memory of, if it needs it."""
        if self.line:
            return []
        awake = [one for one in self.ready if not one.in_flight][self.kept :]
        return [one for one in self.paused + awake if now - one.ready_at >= _LIFE_MIN]

    def close(self, successor: Fleet | None) -> None:
        """End it all: who waits goes on to `successor`, who is served is let finish."""
        self.is_closed = True
        if successor is not None:
            self.line.move_to(successor.line)
            successor.balance()
        else:
            self.line.fail(Unavailable("The function was replaced. Try again."))
        for instance in [*self.ready, *self.paused, *self.moving]:
            self.discard(instance)

    def is_in_use(self, now: float) -> bool:
        """Whether a request waits, runs, or was there lately."""
        instances = [*self.ready, *self.moving, *self.paused]
        lately = any(
            now - one.last_used < _LATELY or one.in_flight for one in instances
        )
        return bool(self.line) or lately or bool(instances and self.kept)

    def is_over(self, now: float) -> bool:
        """Whether nothing is left to remember."""
        busy = self.size or self.line or self.kept
        return not busy and not self.backoff.remembers(now)

    # -- one instance -----------------------------------------------------------------

    async def _start(self) -> None:
        try:
            instance = await self._house.launch(self)
        except InvocationError as error:
            self._not_started(error)
        except ContainerEngineError as error:
            # The reason is for the log; who calls learns only to try again.
            log.error("no instance of %s: %s", self.route.path, error)
            self._not_started(Unavailable(_AWAY))
        except Exception:  # the instance's boundary: its fleet goes on
            log.exception("no instance of %s", self.route.path)
            self._not_started(Unavailable(_AWAY))
        else:
            self.starting -= 1
            self._arrived(instance)

    def _not_started(self, error: InvocationError) -> None:
        log.warning("an instance of %s did not start: %s", self.route.path, error)
        self.starting -= 1
        self.backoff.failed(error, monotonic())
        self._house.unreserve(self)
        self.balance()

    def _arrived(self, instance: Instance) -> None:
        """A new instance, or one that was paused, may take requests."""
        if self.is_closed:
            self._house.leave(instance)
            return
        instance.state = InstanceState.READY
        instance.last_used = monotonic()
        self.ready.append(instance)
        self.balance()

    def _move(self, instance: Instance, state: InstanceState) -> None:
        instance.state = state
        self.moving.add(instance)
        self._house.spawn(self._moved(instance))

    async def _moved(self, instance: Instance) -> None:
        """Pause or resume; what cannot be is replaced."""
        try:
            if instance.state is InstanceState.PAUSING:
                await instance.pause()
            else:
                await instance.resume()
        except ContainerEngineError as error:
            log.warning("%s: %s", instance.name, error)
            self.discard(instance, at_once=True)
            return
        except Exception:  # the instance's boundary: its fleet goes on
            log.exception("%s", instance.name)
            self.discard(instance, at_once=True)
            return
        if instance not in self.moving:  # discarded meanwhile
            return
        self.moving.discard(instance)
        if instance.state is InstanceState.RESUMING:
            self._arrived(instance)
        else:
            instance.state = InstanceState.PAUSED
            self.paused.append(instance)
            self.balance()

    def discard(self, instance: Instance, *, at_once: bool = False) -> None:
        """Give an instance no more requests and have it ended; another takes over."""
        if instance.state is InstanceState.ENDING:
            return
        self._take_out(instance)
        self._house.leave(instance, at_once=at_once)
        self.balance()

    def died(self, instance: Instance, error: FunctionFailed) -> None:
        """An instance has ended by itself."""
        now = monotonic()
        if now - instance.ready_at < YOUNG:
            self.backoff.crashed(error, now)
        self.discard(instance, at_once=True)

    def _take_out(self, instance: Instance) -> None:
        self.moving.discard(instance)
        for group in (self.ready, self.paused):
            if instance in group:
                group.remove(instance)


def _shortest(route: Route) -> float:
    return min(settings.ZERVERLESS_PAUSE_AFTER, route.config.idle)
