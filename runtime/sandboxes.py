"""Sandboxes: the containers whose network namespace a server function joins.

A namespace with nothing but `lo`, and our door in it. Starting one takes as long as
starting a function, so a few wait ready; each is used for one instance.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from collections import deque
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from applications.errors import ZerverlessError
from runtime import engine, files, recipe, removal
from runtime.doors import MOUNT, SOCKET, Door, DoorLost, Doors
from runtime.errors import ContainerEngineError

PROGRAM = settings.BASE_DIR / "runtime" / "door" / "door"
_MEMORY = 8 << 20  # the least an engine takes is 6 MiB; the door needs less than one
_ARRIVAL_SECONDS = 10.0
_AGAIN = 5.0  # seconds until a sandbox that could not be started is tried again

log = logging.getLogger(__name__)


class NoDoor(ContainerEngineError):
    """The door's program was not compiled: see `manage.py doctor`."""


@dataclass(eq=False)
class Sandbox:
    """A running sandbox and its door."""

    name: str
    door: Door

    def discard(self) -> None:
        """Have it removed; what runs in its namespace has to be gone before."""
        self.door.close()
        removal.soon(engine.remove, self.name)


class Sandboxes:
    """The sandboxes of one gateway, and those that wait."""

    def __init__(self, owner: str, doors: Doors, ahead: int) -> None:
        self._owner = owner
        self._doors = doors
        self._ahead = ahead
        self._ready: deque[Sandbox] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._image = ""
        self._is_stopped = False

    async def take(self) -> Sandbox:
        """A sandbox of one's own, at once if one waits. Raises NoDoor, DoorLost and
        ContainerEngineError."""
        while self._ready:
            sandbox = self._ready.popleft()
            self.refill()
            if not sandbox.door.is_lost:
                return sandbox
            sandbox.discard()
        sandbox = await self._start()
        self.refill()
        return sandbox

    def refill(self) -> None:
        """Start what is missing, in the background and one after the other."""
        lacks = len(self._ready) < self._ahead and not self._is_stopped
        if lacks and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def stop(self) -> None:
        """Discard those that wait."""
        self._is_stopped = True
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait([self._filling])
        while self._ready:
            self._ready.popleft().discard()

    async def _fill(self) -> None:
        while len(self._ready) < self._ahead:
            try:
                self._ready.append(await self._start())
            except ZerverlessError as error:
                log.warning("no sandbox is started ahead: %s", error)
                return

    async def _start(self) -> Sandbox:
        image = self._image or await asyncio.to_thread(_image)
        self._image = image
        name = recipe.name(self._owner, f"sandbox{secrets.token_hex(6)}")
        token = self._doors.expect()
        config = _config(image, str(self._doors.directory), token)
        try:
            await asyncio.to_thread(engine.create, name, config)
            await asyncio.to_thread(engine.start, name)
            return Sandbox(name, await self._doors.arrival(token, _ARRIVAL_SECONDS))
        except BaseException as error:
            self._doors.forget(token)
            removal.soon(engine.remove, name)
            if isinstance(error, ContainerEngineError) and not isinstance(
                error, DoorLost
            ):
                self._image = ""  # somebody may have removed it
            raise


def _image() -> str:
    """The id of the image that holds nothing but the door."""
    try:
        program = PROGRAM.read_bytes()
    except FileNotFoundError:
        raise NoDoor("The door is missing: run scripts/door.") from None
    digest = hashlib.sha256(program).hexdigest()[:12]
    return engine.import_image(
        f"{settings.DOCKER_IMAGE_PREFIX}-door",
        digest,
        files.archive("door", program),
        ['ENTRYPOINT ["/door"]'],
    )


def _config(image: str, directory: str, token: str) -> dict[str, Any]:
    """As little as there can be: one program, one directory it may only look into."""
    return {
        "Image": image,
        "Cmd": [f"{MOUNT}/{SOCKET}", token],
        # Ours: the directory of the socket is for nobody else.
        "User": f"{os.getuid()}:{os.getgid()}",
        "Hostname": "function",
        "HostConfig": {
            # Not without a network at all: the engine then makes no /etc/hosts, and
            # the function that joins would not know `localhost`.
            "NetworkMode": "none",
            "Memory": _MEMORY,
            "MemorySwap": _MEMORY,
            "PidsLimit": 4,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "IpcMode": "private",
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none", "Config": {}},
            "Binds": [f"{directory}:{MOUNT}:ro"],
        },
    }
