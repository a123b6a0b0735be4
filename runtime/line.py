"""Requests that wait for an instance of one deployment: first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from runtime.errors import InvocationError
from runtime.instance import Instance


class Line:
    """The line of one deployment.

    `too_late` makes the error for a request whose patience is over, `give_back` takes
    an instance that was handed to a request which is no longer there.
    """

    def __init__(
        self,
        too_late: Callable[[], InvocationError],
        give_back: Callable[[Instance], None],
    ) -> None:
        self.too_late = too_late
        self.give_back = give_back
        self.tickets: deque[Ticket] = deque()  # asked of by every warm request

    def __len__(self) -> int:
        return len(self.tickets)

    def join(self) -> Ticket:
        """A place at the end of the line."""
        ticket = Ticket(self)
        self.tickets.append(ticket)
        return ticket

    def serve(self, instance: Instance) -> None:
        """Hand a slot, taken already, to the first in line. There must be one."""
        self.tickets.popleft().future.set_result(instance)

    def fail(self, error: InvocationError) -> None:
        """Send everybody away, each with a copy."""
        while self.tickets:
            copy = error.again(error.retry_after)
            self.tickets.popleft().future.set_exception(copy)

    def move_to(self, other: Line) -> None:
        """Have everybody wait in another line, behind those who are there."""
        for ticket in self.tickets:
            ticket.line = other
        other.tickets += self.tickets
        self.tickets.clear()

    def leave(self, ticket: Ticket) -> None:
        with suppress(ValueError):
            self.tickets.remove(ticket)


class Ticket:
    """One request's place in a line. While it is there, its future is not done."""

    __slots__ = ("future", "line")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.future: asyncio.Future[Instance] = (
            asyncio.get_running_loop().create_future()
        )

    async def turn(self, seconds: float) -> Instance:
        """Wait for an instance; raises InvocationError, at the latest after `seconds`.

        Cancelled, it leaves the line, and what it was given goes to the next one.
        """
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._expire)
        try:
            # Shielded: a cancelled future would stay in the line until its turn.
            return await asyncio.shield(self.future)
        except asyncio.CancelledError:
            self._withdraw()
            raise
        finally:
            timer.cancel()

    def _expire(self) -> None:
        if not self.future.done():
            self.line.leave(self)
            self.future.set_exception(self.line.too_late())

    def _withdraw(self) -> None:
        if not self.future.done():
            self.line.leave(self)
            self.future.cancel()
        elif not self.future.exception():
            self.line.give_back(self.future.result())
