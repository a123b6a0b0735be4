"""Sandboxes: the containers whose network namespace a server function joins.

A namespace with nothing but `lo`, and our door in it. Starting one takes as long as
starting a function, so a few wait ready; each is used for one instance. Those with a
way out (runtime/egress.py) wait from the first time that one was asked for.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from runtime import egress, engine, engine_files, files, recipe, removal, threads
from runtime.ahead import Ahead
from runtime.deaths import LABEL, Deaths
from runtime.doors import MOUNT, SOCKET, Door, Doors
from runtime.errors import ContainerEngineError, ContainerRefused, ImageMissing
from runtime.ways import WayLost

PROGRAM = settings.BASE_DIR / "runtime" / "door" / "door"
_MEMORY = 8 << 20  # the least an engine takes is 6 MiB; the door needs less than one
_ARRIVAL_SECONDS = 10.0
_HOSTNAME = "function"

log = logging.getLogger(__name__)


class NoDoor(ContainerEngineError):
    """The door's program was not compiled: see `manage.py doctor`."""


@dataclass(eq=False)
class Sandbox:
    """A running sandbox and its door: the way into the container that joins it."""

    name: str
    door: Door

    @property
    def network(self) -> str:
        return f"container:{self.name}"

    def when_lost(self, tell: Callable[[], None]) -> None:
        self.door.on_lost = tell

    async def open(self, port: int, seconds: float) -> Any:
        return await self.door.open(port, seconds)

    def discard(self) -> None:
        self.door.close()
        removal.later(engine.remove, self.name)


class Sandboxes:
    """The sandboxes of one gateway, and those that wait."""

    def __init__(self, owner: str, directory: Path, deaths: Deaths, ahead: int) -> None:
        self._owner = owner
        self._doors = Doors(directory)
        self._deaths = deaths
        self._ahead = {
            network: Ahead(partial(self._start, network), ahead)
            for network in (egress.NONE, egress.EGRESS)
        }
        self._image = ""
        self._resolvers: list[str] | None = None
        self._out = egress.network_name(owner.partition("-")[0])

    async def open(self) -> None:
        """Listen, and see that a sandbox reaches us; it will be the first one taken.

        Raises OSError, NoDoor, WayLost and ContainerEngineError.
        """
        self._doors.start()
        ahead = self._ahead[egress.NONE]
        ahead.put(await self._start(egress.NONE))
        ahead.refill()

    async def take(self, name: str, network: str = egress.NONE) -> Sandbox:
        """A sandbox of one's own, at once if one waits."""
        ahead = self._ahead[network]
        sandbox = ahead.take() or await self._start(network)
        ahead.refill()
        return sandbox

    async def stop(self) -> None:
        """Discard those that wait; all doors close."""
        for ahead in self._ahead.values():
            await ahead.stop()
        self._doors.stop()
        if self._resolvers is not None:  # one with a way out was asked for
            await threads.run(self._remove_network)

    def _remove_network(self) -> None:
        """It stays where another gateway's sandboxes are in it."""
        removal.drain()
        try:
            engine.remove_network(self._out)
        except ContainerEngineError as error:
            log.warning("network %s stays for now: %s", self._out, error)

    async def _start(self, network: str) -> Sandbox:
        """With a second try: a sandbox is ours, and what fails is mostly gone then. The
        image or the network was removed, or the engine called a container dead before
        it ran."""
        try:
            return await self._start_one(network)
        except WayLost:
            raise
        except (ImageMissing, ContainerEngineError) as error:
            log.warning("a sandbox is started again: %s", error)
            self._image = ""
            return await self._start_one(network)

    async def _start_one(self, network: str) -> Sandbox:
        self._image = self._image or await threads.run(_image)
        name = recipe.name(self._owner, f"sandbox{secrets.token_hex(6)}")
        token = self._doors.expect()
        config = _config(self._image, str(self._doors.directory), token)
        config["Labels"] = {LABEL: self._owner}
        try:
            if network == egress.EGRESS:
                await self._let_out(config)
            await threads.run_or_undo(
                partial(engine.create, name, config), partial(engine.remove, name)
            )
            self._deaths.watch(name, partial(self._never_came, token))
            await threads.run(engine.start, name)
            door = await self._doors.arrival(token, _ARRIVAL_SECONDS)
        except ContainerRefused as error:
            removal.later(engine.remove, name)
            raise ContainerEngineError(f"No sandbox: {error.reason}") from error
        except BaseException:
            removal.later(engine.remove, name)
            raise
        finally:
            self._doors.forget(token)
            self._deaths.forget(name)
        return Sandbox(name, door)

    async def _let_out(self, config: dict[str, Any]) -> None:
        if self._resolvers is None:
            self._resolvers = await self._ask_resolvers()
        shared = self._doors.directory.parent
        await threads.run(egress.ensure_network, self._out, shared)
        egress.widen(config, self._out, self._resolvers)

    async def _ask_resolvers(self) -> list[str]:
        """Once: the sandbox that is looked at has nothing to do yet."""
        ahead = self._ahead[egress.NONE]
        plain = ahead.take() or await self._start(egress.NONE)
        try:
            return await threads.run(egress.resolvers, plain.name)
        finally:
            ahead.put(plain)

    def _never_came(self, token: str, code: int) -> None:
        error = egress.no_guard(code)
        self._doors.refuse(
            token, error or WayLost(f"A sandbox's door ended with exit code {code}.")
        )


def _image() -> str:
    """The id of the image that holds nothing but the door."""
    try:
        program = PROGRAM.read_bytes()
    except FileNotFoundError:
        raise NoDoor("The door is missing: run scripts/door.") from None
    digest = hashlib.sha256(program).hexdigest()[:12]
    return engine_files.import_image(
        f"{settings.DOCKER_IMAGE_PREFIX}/door",
        digest,
        files.archive("door", program),
        ['ENTRYPOINT ["/door"]'],
    )


def _config(image: str, directory: str, token: str) -> dict[str, Any]:
    """As little as there can be: one program, one directory it may only look into."""
    mount = {"Type": "bind", "Source": directory, "Target": MOUNT, "ReadOnly": True}
    return {
        "Image": image,
        "Cmd": [f"{MOUNT}/{SOCKET}", token],
        # Ours: the directory of the socket is for nobody else.
        "User": f"{os.getuid()}:{os.getgid()}",
        "Hostname": _HOSTNAME,
        "HostConfig": {
            # Not without a network at all: the engine then makes no /etc/hosts, and
            # the function that joins would not know `localhost`.
            "NetworkMode": "none",
            # What joins shares the name too; programs look for an address of their own.
            "ExtraHosts": [f"{_HOSTNAME}:127.0.0.1"],
            "Sysctls": _sysctls(),
            "Memory": _MEMORY,
            "MemorySwap": _MEMORY,
            "PidsLimit": 4,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "IpcMode": "private",
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none", "Config": {}},
            # Unlike a bind, a mount whose source is not there makes no directory.
            "Mounts": [mount],
        },
    }


def _sysctls() -> dict[str, str]:
    """The engine switches IPv6 off, but /etc/hosts calls ::1 localhost all the same."""
    has_ipv6 = Path("/proc/sys/net/ipv6").exists()
    return {"net.ipv6.conf.lo.disable_ipv6": "0"} if has_ipv6 else {}
