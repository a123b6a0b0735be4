"""The gateway's side of the doors (runtime/door/door.c): connections into sandboxes.

A door runs in each sandbox and connects to our one unix socket, which its container sees
through a read-only mount. Asked for a connection to a port, it opens it in the sandbox's
network namespace and passes us the connected socket: what flows afterwards passes nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from runtime.errors import ContainerEngineError

# Where a sandbox's container sees the directory of our socket.
MOUNT = "/gateway"
SOCKET = "s"
_ASKED = struct.Struct("!III")  # number, port, patience in milliseconds
_ANSWERED = struct.Struct("!II")  # number, errno
_TOKEN_MAX = 64
_LATER = 5.0  # seconds a door gets beyond the patience it was told


class DoorLost(ContainerEngineError):
    """The sandbox has ended."""


class NotListening(Exception):
    """Nothing takes connections on the port."""


class Door:
    """One sandbox's door. `on_lost` is called when the sandbox is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self.is_lost = False
        self.on_lost: Callable[[], None] = _ignore
        self._connection = connection
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[socket.socket]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._read)

    async def open(self, port: int, seconds: float) -> socket.socket:
        """A connection to a port of the loopback inside, as soon as it takes one.

        Raises NotListening after `seconds`, DoorLost where the sandbox is gone.
        """
        if self.is_lost:
            raise DoorLost("The sandbox has ended.")
        number = next(self._numbers)
        answer = self._asked[number] = self._loop.create_future()
        try:
            self._connection.send(_ASKED.pack(number, port, int(seconds * 1000)))
            async with asyncio.timeout(seconds + _LATER):
                return await asyncio.shield(answer)
        except asyncio.CancelledError:
            # It may have been answered in this very turn of the loop.
            answer.add_done_callback(_close_result)
            answer.cancel()
            raise
        except TimeoutError:
            raise DoorLost("The sandbox does not answer.") from None
        except OSError as error:
            raise DoorLost(f"The sandbox has ended: {error}") from error
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Let the door end; nobody is told."""
        self.on_lost = _ignore
        self._lose()

    def _read(self) -> None:
        try:
            data, received, _, _ = socket.recv_fds(
                self._connection, _ANSWERED.size, 1, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, received = b"", []
        if len(data) != _ANSWERED.size:
            self._lose()
            return
        number, error = _ANSWERED.unpack(data)
        self._answer(self._asked.pop(number, None), error, received)

    def _answer(
        self,
        asked: asyncio.Future[socket.socket] | None,
        error: int,
        received: list[int],
    ) -> None:
        if asked is None or asked.done():  # nobody waits any more
            for descriptor in received:
                os.close(descriptor)
        elif received:
            opened = socket.socket(fileno=received[0])
            opened.setblocking(False)
            asked.set_result(opened)
        else:
            asked.set_exception(NotListening(os.strerror(error)))

    def _lose(self) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(DoorLost("The sandbox has ended."))
        self.on_lost()


class Doors:
    """Listens for doors in a directory of its own, made by `start`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._awaited: dict[str, asyncio.Future[Door]] = {}
        self._doors: set[Door] = set()
        self._greeted: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def start(self) -> None:
        """Listen, on the running loop. Raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        # A data directory's path may be longer than the 107 bytes an address takes.
        place = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
        try:
            (self.directory / SOCKET).unlink(missing_ok=True)
            self._listener.bind(f"/proc/self/fd/{place}/{SOCKET}")
        finally:
            os.close(place)
        self._listener.listen(256)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener.fileno(), self._accept)

    def stop(self) -> None:
        """Close every door: sandboxes end by themselves."""
        if self._listener is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for greeted in list(self._greeted):
            self._dismiss(greeted)
        for door in list(self._doors):
            door.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def expect(self) -> str:
        """A token that a sandbox may present, once; see `arrival`."""
        token = secrets.token_hex(16)
        self._awaited[token] = asyncio.get_running_loop().create_future()
        return token

    async def arrival(self, token: str, seconds: float) -> Door:
        """The door that presents the token; DoorLost when it does not come in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._awaited[token]
        except TimeoutError:
            raise DoorLost("The sandbox does not reach the gateway.") from None
        finally:
            self.forget(token)

    def forget(self, token: str) -> None:
        """Expect it no longer."""
        arrived = self._awaited.pop(token, None)
        if arrived is not None and not arrived.done():
            arrived.cancel()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._greeted.add(connection)
        loop = asyncio.get_running_loop()
        loop.add_reader(connection.fileno(), self._greet, connection)

    def _greet(self, connection: socket.socket) -> None:
        try:
            token = connection.recv(_TOKEN_MAX).decode("ascii", "replace")
        except BlockingIOError:
            return
        except OSError:
            token = ""
        arrived = self._awaited.get(token)
        if arrived is None or arrived.done():
            self._dismiss(connection)
            return
        asyncio.get_running_loop().remove_reader(connection.fileno())
        self._greeted.discard(connection)
        door = Door(connection)
        self._doors = {one for one in self._doors if not one.is_lost} | {door}
        arrived.set_result(door)

    def _dismiss(self, connection: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(connection.fileno())
        self._greeted.discard(connection)
        connection.close()


def _close_result(answer: asyncio.Future[socket.socket]) -> None:
    if not answer.cancelled() and answer.exception() is None:
        answer.result().close()


def _ignore() -> None:
    """Nobody wants to know."""
