"""The gateway's side of the doors (runtime/door/door.c): connections into sandboxes.

A door runs in each sandbox and connects to our one unix socket, which its container
sees through a read-only mount. Asked for a connection to a port, it opens it in the
sandbox's network namespace and passes us the connected socket: what flows afterwards
passes nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time

from applications.errors import ZerverlessError
from runtime.ways import NotListening, WayLost

# Where a sandbox's container sees the directory of our socket.
MOUNT = "/gateway"
SOCKET = "s"
PREFIX = "door-"  # of the names of our directories
_YOUNG = 3.0  # seconds; a directory is listened in right after it was made
_ASKED = struct.Struct("!III")  # number, port, patience in milliseconds
_ANSWERED = struct.Struct("!II")  # number, errno
_TOKEN_MAX = 64
_LATER = 5.0  # seconds a door gets beyond the patience it was told


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

        Raises NotListening after `seconds`, WayLost where the sandbox is gone.
        """
        if self.is_lost:
            raise WayLost("The sandbox has ended.")
        number = next(self._numbers)
        answer: asyncio.Future[socket.socket] = self._loop.create_future()
        self._asked[number] = answer
        timer = self._loop.call_later(seconds + _LATER, self._give_up, answer)
        try:
            self._connection.send(_ASKED.pack(number, port, int(seconds * 1000)))
            return await answer
        except asyncio.CancelledError:
            _close_result(answer)  # it may have come in this very turn of the loop
            raise
        except OSError as error:
            raise WayLost(f"The sandbox has ended: {error}") from error
        finally:
            timer.cancel()
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
        elif error:
            asked.set_exception(NotListening)
        else:
            asked.set_exception(WayLost("The gateway has too many files open."))

    def _give_up(self, asked: asyncio.Future[socket.socket]) -> None:
        if not asked.done():
            asked.set_exception(WayLost("The sandbox does not answer."))

    def _lose(self) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self._loop.remove_reader(self._connection.fileno())
        self._connection.close()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(WayLost("The sandbox has ended."))
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
        _remove_stale(self.directory.parent)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        try:
            with _address(self.directory) as address:
                listener.bind(address)
            listener.listen(256)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

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
        """The door that presents the token; WayLost when it does not come in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._awaited[token]
        except TimeoutError:
            raise WayLost("The sandbox does not reach the gateway.") from None
        finally:
            self.forget(token)

    def refuse(self, token: str, error: ZerverlessError) -> None:
        """It will not come, and this is why."""
        arrived = self._awaited.get(token)
        if arrived is not None and not arrived.done():
            arrived.set_exception(error)

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


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """A short address of the socket: a path of more than 107 bytes is none."""
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{place}/{SOCKET}"
    finally:
        os.close(place)


def _remove_stale(parent: Path) -> None:
    """Remove directories whose gateway was killed: nobody listens there any more."""
    for directory in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            # One that was just made may not be listened in yet.
            is_young = time() - directory.stat().st_mtime < _YOUNG
            if not is_young and not _is_listening(directory):
                shutil.rmtree(directory)


def _is_listening(directory: Path) -> bool:
    with (
        _address(directory) as address,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visitor,
    ):
        try:
            visitor.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def _close_result(answer: asyncio.Future[socket.socket]) -> None:
    if answer.done() and not answer.cancelled() and answer.exception() is None:
        answer.result().close()


def _ignore() -> None:
    """Nobody wants to know."""
