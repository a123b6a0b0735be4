"""The other gateways on this port: a scrape reaches any one, and asks all of them.

Each listens on a unix socket of its own and tells whoever connects what it has counted,
as one JSON document. Only with ZERVERLESS_GATEWAYS over 1.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings

from runtime.traffic import Reading

log = logging.getLogger(__name__)

# The supervisor's name for this process: the same after it was started again.
NAME = os.environ.get("ZERVERLESS_PROCESS", "gateway")
_SECONDS = 1.0


@dataclass(frozen=True)
class Told:
    """What one gateway process says: its numbers by namespace and path."""

    name: str
    pid: int
    functions: dict[tuple[str, str], Reading]
    left_out: int = 0  # functions over the limit

    def dump(self) -> bytes:
        """As it goes through a socket."""
        rows = [[*key, asdict(reading)] for key, reading in self.functions.items()]
        return json.dumps([self.name, self.pid, rows, self.left_out]).encode()

    @classmethod
    def load(cls, text: bytes) -> Told:
        """As it comes out; raises ValueError where it does not come whole."""
        name, pid, rows, left_out = json.loads(text)
        functions = {
            (namespace, path): Reading(**values) for namespace, path, values in rows
        }
        return cls(name, pid, functions, left_out)


class Ear:
    """Answers the other gateways with what `tell` says; that runs in a thread."""

    def __init__(self, name: str, tell: Callable[[], Told]) -> None:
        self._path = _directory() / f"{name}.sock"
        self._tell = tell
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, where there are other gateways at all."""
        if settings.ZERVERLESS_GATEWAYS == 1:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # a killed one has left it
        try:
            self._server = await asyncio.start_unix_server(self._answer, self._path)
        except OSError as error:
            log.error("the other gateways cannot ask for our metrics: %s", error)

    def stop(self) -> None:
        """Take no more questions."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            writer.write(await asyncio.to_thread(lambda: self._tell().dump()))
            await writer.drain()
        writer.close()


def ask(name: str) -> Iterator[Told]:
    """What every gateway but `name` says. One that is gone or stuck says nothing."""
    if settings.ZERVERLESS_GATEWAYS == 1:
        return
    for path in sorted(_directory().glob("*.sock")):
        if path.stem == name:
            continue
        try:
            yield Told.load(_read(path))
        except (OSError, ValueError) as error:
            log.debug("%s tells nothing: %s", path.stem, error)


def _read(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(str(path))
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def _directory() -> Path:
    return Path(settings.RUN_DIR) / "metrics"
