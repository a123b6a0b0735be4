"""Containers started ahead: blocked before the function's own program, used once each.

A primed container is created and started with everything it will ever be (image,
limits, fresh root), but its first program is our launcher (runtime/launcher/launch),
which waits on standard input for one request and then runs the image's own ENTRYPOINT
and CMD. What a request still costs is handing it over: milliseconds instead of a start.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from applications.errors import UserError
from runtime import container, engine, engine_client, files, removal
from runtime.container import Outcome
from runtime.errors import ContainerEngineError
from runtime.marks import MarkedPump
from runtime.pump import Pump, Stopped

PLACE = "/.zerverless"
READY = b"r"
SCRIPT = Path(__file__).parent / "launcher" / "launch"
_ELF = b"\x7fELF"
_INTERPRETER = b"/ld-linux"  # names a loader: not a static program
_READY_SECONDS = 30.0


class NeverStarted(Exception):
    """The container was gone before the program began: nobody saw the request."""


class NoLauncher(UserError):
    """The one file a primed container needs is not on this machine."""


@dataclass
class Primed:
    """A container that waits, the sockets to it, and what starting it took in ms."""

    name: str
    streams: ExitStack
    output: Any
    feed: Any
    phases: dict[str, float] = field(default_factory=dict)

    def discard(self) -> None:
        """Close the sockets and have the container removed."""
        self.streams.close()
        removal.soon(engine.remove, self.name)


@dataclass(frozen=True)
class Launcher:
    """The volume with a static busybox and our script, made once per installation."""

    volume: str

    @classmethod
    def ensure(cls, installation: str, gateway: str, image_id: str) -> Launcher:
        """The launcher of this installation; NoLauncher without a static busybox."""
        # A name of its own each time: one that could not be removed blocks no other.
        suffix = f"launcher{secrets.token_hex(4)}"
        helper = engine.container_name(installation, gateway, suffix)
        busybox = _static_busybox(helper)
        if busybox is None:
            raise NoLauncher(
                "No static busybox is to be had, so no container is started ahead: "
                "install busybox-static, or have the image busybox."
            )
        script = SCRIPT.read_bytes()
        digest = hashlib.sha256(busybox + script).hexdigest()[:12]
        volume = f"zerverless-{installation}-launcher-{digest}"
        contents = {"busybox": busybox, "launch": script}
        files.fill_volume(volume, helper, image_id, contents)
        return cls(volume)

    def wrap(self, config: dict[str, Any], command: tuple[str, ...]) -> dict[str, Any]:
        """The container's configuration with the launcher before its program."""
        host = {**config["HostConfig"], "Binds": [f"{self.volume}:{PLACE}:ro,nocopy"]}
        return {
            **config,
            "Entrypoint": [f"{PLACE}/busybox", "sh", f"{PLACE}/launch"],
            "Cmd": list(command),
            "AttachStdin": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "HostConfig": host,
        }


def prime(name: str, config: dict[str, Any]) -> Primed:
    """Create and start a container up to its launcher.

    Raises ImageMissing, ContainerRefused and ContainerEngineError.
    """
    phases: dict[str, float] = {}
    with ExitStack() as stack:
        with container.phase(phases, "create"):
            engine.create(name, config)
        stack.callback(removal.soon, engine.remove, name)
        streams = stack.enter_context(ExitStack())
        with container.phase(phases, "attach"):
            output, feed = container.open_streams(streams, name, stdin=True)
        with container.phase(phases, "start"):
            engine.start(name)
            with engine_client.our_errors():
                _until_ready(output)
        stack.pop_all()
        return Primed(name, streams, output, feed, phases)


def run(
    primed: Primed,
    environment: Mapping[str, str],
    *,
    body: bytes,
    timeout: float,
    max_output: int,
    cancelled: Callable[[], bool],
) -> Outcome:
    """Hand a request to a primed container and return how its program ended.

    Raises NeverStarted when the container was not there any more: safe to try again.
    """
    phases: dict[str, float] = {}
    mark = secrets.token_hex(16)
    try:
        data = request_lines(environment, mark) + body
        pump = MarkedPump(primed.output, primed.feed, data, max_output, mark.encode())
        try:
            with container.phase(phases, "run"):
                outcome = container.supervise(primed.name, pump, timeout, cancelled)
        except ContainerEngineError as error:
            if pump.started:
                raise
            raise NeverStarted from error
        if not pump.started and outcome.stopped is Stopped.END:
            raise NeverStarted
    finally:
        primed.discard()
    outcome.phases = phases
    return outcome


def request_lines(environment: Mapping[str, str], mark: str) -> bytes:
    """What the launcher reads before the body: mark, variables, an empty line."""
    lines = [f"ZV_MARK={mark}"]
    lines += [f"{name}={_quoted(value)}" for name, value in environment.items()]
    return "\n".join([*lines, "", ""]).encode("utf-8", "replace")


def _quoted(value: str) -> str:
    """A shell word; `read` ends at a newline, so that one is written as an escape."""
    inside = value.replace("'", "'\\''").replace("\n", "'$'\\n''")
    return f"'{inside}'"


def _until_ready(output: Any) -> None:
    """Read the launcher's first word: one frame of the attach stream."""
    output.settimeout(_READY_SECONDS)
    frame = b""
    while len(frame) < Pump.HEADER + len(READY):
        data = output.recv(Pump.HEADER + len(READY) - len(frame))
        if not data:
            raise ContainerEngineError("A primed container ended before its request.")
        frame += data
    if not frame.endswith(READY):
        raise ContainerEngineError("The launcher does not run in this image.")


def _static_busybox(helper: str) -> bytes | None:
    """Ours, from this machine's package or from the busybox image, never pulled."""
    for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")):
        if path.is_file() and _is_static(data := path.read_bytes()):
            return data
    data_or_none = files.file_of_image("busybox", helper, "/bin/busybox")
    return data_or_none if data_or_none and _is_static(data_or_none) else None


def _is_static(program: bytes) -> bool:
    return program.startswith(_ELF) and _INTERPRETER not in program[:4096]
