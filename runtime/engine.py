"""Runs containers through the Docker Engine's API; the only place that does.

Plain values in, our errors out, no ORM. A container is created from an image *id* and
never through `containers.run`, which pulls a missing name from a registry: whoever owns
that name there would run in our place.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import lru_cache
from typing import Any

import docker
import requests
from django.conf import settings

from runtime import removal
from runtime.engine_client import QUICK, client, our_errors, socket_of
from runtime.errors import (
    ContainerEngineError,
    ContainerRefused,
)
from runtime.facts import Container, Image, State

logger = logging.getLogger(__name__)

_NEWS = 300  # of a stream that mostly says nothing


def container_name(installation: str, gateway_id: str, invocation_id: str) -> str:
    """The name that says whose it is; labels cannot: an image brings its own."""
    return f"zerverless-{installation}-{gateway_id}-{invocation_id}"


def remove(name: str, tries: int = 20) -> None:
    """Kill and remove a container with its anonymous volumes; gone already is fine."""
    with our_errors():
        try:
            client(QUICK * 3).remove_container(name, v=True, force=True)
        except docker.errors.APIError as error:
            if tries > 1 and "is not running" in str(error.explanation):
                time.sleep(0.1)  # it ended while it was to be killed; not noted yet
                remove(name, tries - 1)
            elif error.status_code not in {404, 409}:  # gone, or "already in progress"
                raise


def start(name: str) -> None:
    """Start a created container; ContainerRefused where the image is at fault."""
    with our_errors(refusable=True):
        client(settings.ZERVERLESS_COLD_START_TIMEOUT).start(name)


def wait(name: str, seconds: float) -> int | None:
    """The exit code of a container; None while it still runs after `seconds`."""
    with our_errors():
        try:
            wait: Any = client(QUICK).wait  # typed as whole seconds
            return int(wait(name, timeout=seconds)["StatusCode"])
        except (requests.exceptions.Timeout, requests.exceptions.ConnectionError):
            # The SDK reports a read timeout in the middle of an answer as a
            # ConnectionError; a daemon that is really gone fails the next call.
            ping()
            return None


def kill(name: str, signal: str = "SIGKILL") -> None:
    """Send a signal; a container that is not running (any more) is fine."""
    with our_errors():
        try:
            client(QUICK).kill(name, signal)
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:
                raise


def ping() -> None:
    """Return when the engine answers, raise ContainerEngineError when it does not."""
    with our_errors():
        client(QUICK).ping()


def list_ours(installation: str) -> list[Container]:
    """Every container whose name says it is this installation's, running or not."""
    prefix = f"zerverless-{installation}-"
    with our_errors():
        rows = client(QUICK).containers(all=True, filters={"name": f"^/?{prefix}"})
    return [
        Container(
            id=row["Id"],
            name=name,
            owner=name.removeprefix(prefix).split("-", 1)[0],
            image_id=row["ImageID"],
            created=int(row["Created"]),
            state=row["State"],
        )
        for row in rows
        for name in (str((row.get("Names") or ["/"])[0]).removeprefix("/"),)
        if name.startswith(prefix)
    ]


def image(image_id: str) -> Image:
    """What running the image depends on. Raises ImageMissing; never pulls."""
    return _image(settings.DOCKER_HOST, image_id)


@lru_cache(maxsize=2048)  # an image never changes under its id
def _image(_daemon: str, image_id: str) -> Image:
    with our_errors():
        inspect: Any = client(QUICK).inspect_image
        found = inspect(image_id)
    config = found.get("Config") or {}
    return Image(
        id=image_id,
        volumes=tuple(sorted(config.get("Volumes") or ())),
        user=config.get("User") or "",
        workdir=config.get("WorkingDir") or "",
        command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        env=tuple(config.get("Env") or ()),
        labels=tuple(config.get("Labels") or ()),
        architecture=found.get("Architecture") or "",
    )


def create(name: str, config: dict[str, Any]) -> None:
    """Create a container from the body of the Engine API's call; by image id only."""
    create: Any = client(
        settings.ZERVERLESS_COLD_START_TIMEOUT
    ).create_container_from_config
    try:
        with our_errors(refusable=True):
            create(config, name)
    except ContainerEngineError as error:
        # Undo a creation whose end we did not see. Where the engine has answered, it
        # made nothing, and under a name that was taken there is somebody else's.
        if not isinstance(error.__cause__, docker.errors.APIError):
            removal.soon(remove, name)
        raise
    try:
        _check_mounts(name, config)
    except (ContainerEngineError, ContainerRefused):
        remove(name)
        raise


def _check_mounts(name: str, config: dict[str, Any]) -> None:
    """Raise ContainerRefused unless the container has the mounts we gave it and no
    other: one that an image brings along is a disk without a limit."""
    with our_errors():
        mounts = client(QUICK).inspect_container(name)["Mounts"] or []
    host = config.get("HostConfig", {})
    ours = {bind.split(":")[1] for bind in host.get("Binds", ())}
    ours |= {mount["Target"] for mount in host.get("Mounts", ())}
    others = sorted({str(mount["Destination"]) for mount in mounts} - ours)
    if others:
        raise ContainerRefused(
            f"Docker would give it a volume on disk at {', '.join(others)[:300]}: "
            "remove that VOLUME, or write its path as it is used."
        )


def stream(
    streams: ExitStack, name: str, *, stdin: bool, output: bool
) -> socket.socket:
    """One attached stream, closed with `streams`."""
    wanted = {"stream": True, "stdin": stdin, "stdout": output, "stderr": output}
    params = {key: int(value) for key, value in wanted.items()}
    with our_errors():
        return socket_of(client(QUICK).attach_socket(name, params=params), streams)


def was_oom(name: str, exit_code: int) -> bool:
    """Whether the kernel killed one of its processes for memory. Of a container that
    still runs only the events say so. The report can trail the exit."""
    for attempt in range(7):
        with our_errors():
            state = client(QUICK).inspect_container(name)["State"]
        if state["OOMKilled"] or _has_event(name, "oom"):
            return True
        if exit_code != 137:
            return False
        time.sleep(0.01 * 2**attempt)
    return False


def _has_event(name: str, event: str) -> bool:
    """Whether the engine, which remembers its latest events, noted this one."""
    filters = {"type": "container", "event": event, "container": name}
    with our_errors():
        read: Any = client(QUICK).events
        noted = read(since=1, until=time.time(), filters=filters, decode=True)
        return bool(list(noted))  # read to its end, which frees the connection


def logs(name: str, lines: int, *, times: bool = True) -> bytes:
    """The last lines of both outputs, with their times; b"" of one that is gone."""
    with our_errors():
        try:
            read: Any = client(QUICK).logs
            return bytes(read(name, tail=lines, timestamps=times))
        except docker.errors.NotFound:
            return b""


# -- Containers that stay --------------------------------------------------------------


def pause(name: str) -> None:
    """Freeze every process of a container."""
    with our_errors():
        client(QUICK).pause(name)


def resume(name: str) -> None:
    """Let a paused container go on."""
    with our_errors():
        client(QUICK).unpause(name)


def state(name: str) -> State | None:
    """How a container is; None when it is not there."""
    with our_errors():
        try:
            found = client(QUICK).inspect_container(name)
        except docker.errors.NotFound:
            return None
    networks = found["NetworkSettings"]["Networks"] or {}
    return State(
        has_ended=found["State"]["Status"] in {"exited", "dead"},
        exit_code=int(found["State"]["ExitCode"]),
        address=next((str(one["IPAddress"]) for one in networks.values()), ""),
    )


class Ends:
    """The containers with a label that end, or lose a process for want of memory, as it
    happens; read it in a thread.

    Nothing is missed from `since` on (Unix time). It is over after some minutes without
    news, when the engine goes away, and when it is closed. Raises ContainerEngineError.
    """

    def __init__(self, label: str, since: float) -> None:
        filters = {"type": "container", "event": ["die", "oom"], "label": label}
        with our_errors():
            news: Any = client(_NEWS).events
            self._stream = news(since=f"{since:.3f}", filters=filters, decode=True)

    def __iter__(self) -> Iterator[tuple[str, int | None]]:
        """Name and exit code of each; None for memory."""
        with our_errors():
            for event in self._stream:
                about = event["Actor"]["Attributes"]
                ended = event["Action"] == "die"
                code = int(about.get("exitCode", 255)) if ended else None
                yield str(about["name"]), code

    def close(self) -> None:
        """Let the reader end; from any thread."""
        with suppress(OSError):  # it has ended by itself
            self._stream.close()


# -- Networks --------------------------------------------------------------------------


def ensure_network(name: str, *, internal: bool) -> str:
    """The engine's own address in a bridge of this name, made where it is missing:
    containers there do not reach each other, and if `internal` not the world."""
    options = {"com.docker.network.bridge.enable_icc": "false"}
    with our_errors():
        api: Any = client(QUICK)
        if not api.networks(names=[f"^{name}$"]):
            api.create_network(
                name, "bridge", options, check_duplicate=True, internal=internal
            )
        [found, *_] = api.networks(names=[f"^{name}$"])
    return str(found["IPAM"]["Config"][0]["Gateway"])


def remove_network(name: str) -> None:
    """Remove a network unless it is in use; gone already is fine."""
    with our_errors():
        try:
            client(QUICK).remove_network(name)
        except docker.errors.APIError as error:
            if error.status_code not in {403, 404}:
                raise
