"""Runs containers through the Docker Engine's API; the only place that does.

Plain values in, our errors out, no ORM. A container is created from an image *id* and
never through `containers.run`, which pulls a missing name from a registry: whoever owns
that name there would run in our place. Clients are per thread and per process: the
SDK's pool on a unix socket is not safe between threads (it closes the pool of another
request when it is full), and a forked process must not share its parent's connections.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import docker
import requests
from django.conf import settings
from docker.tls import TLSConfig

from runtime import removal
from runtime.errors import (
    ContainerEngineError,
    ContainerRefused,
    ImageMissing,
    Unavailable,
    let_go,
)
from runtime.facts import Container, Image, State

logger = logging.getLogger(__name__)

# Seconds. A call to a daemon that hangs must end: start has a setting of its own.
_QUICK = 10
_NEWS = 300  # of a stream that mostly says nothing
_local = threading.local()


def container_name(installation: str, gateway_id: str, invocation_id: str) -> str:
    """The name that says whose it is; labels cannot: an image brings its own."""
    return f"zerverless-{installation}-{gateway_id}-{invocation_id}"


def remove(name: str, tries: int = 20) -> None:
    """Kill and remove a container with its anonymous volumes; gone already is fine."""
    with our_errors():
        try:
            _client(_QUICK * 3).remove_container(name, v=True, force=True)
        except docker.errors.APIError as error:
            if tries > 1 and "is not running" in str(error.explanation):
                time.sleep(0.1)  # it ended while it was to be killed; not noted yet
                remove(name, tries - 1)
            elif error.status_code not in {404, 409}:  # gone, or "already in progress"
                raise


def start(name: str) -> None:
    """Start a created container; ContainerRefused where the image is at fault."""
    with our_errors(refusable=True):
        _client(settings.ZERVERLESS_COLD_START_TIMEOUT).start(name)


def wait(name: str, seconds: float) -> int | None:
    """The exit code of a container; None while it still runs after `seconds`."""
    with our_errors():
        try:
            wait: Any = _client(_QUICK).wait  # typed as whole seconds
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
            _client(_QUICK).kill(name, signal)
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:
                raise


def ping() -> None:
    """Return when the engine answers, raise ContainerEngineError when it does not."""
    with our_errors():
        _client(_QUICK).ping()


def list_ours(installation: str) -> list[Container]:
    """Every container whose name says it is this installation's, running or not."""
    prefix = f"zerverless-{installation}-"
    with our_errors():
        rows = _client(_QUICK).containers(all=True, filters={"name": f"^/?{prefix}"})
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
        inspect: Any = _client(_QUICK).inspect_image
        config = inspect(image_id).get("Config") or {}
    return Image(
        id=image_id,
        volumes=tuple(sorted(config.get("Volumes") or ())),
        user=config.get("User") or "",
        workdir=config.get("WorkingDir") or "",
        command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        env=tuple(config.get("Env") or ()),
        labels=tuple(config.get("Labels") or ()),
    )


def create(name: str, config: dict[str, Any]) -> None:
    """Create a container from the body of the Engine API's call; by image id only."""
    create: Any = _client(
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


def stream(
    streams: ExitStack, name: str, *, stdin: bool, output: bool
) -> socket.socket:
    """One attached stream, closed with `streams`."""
    wanted = {"stream": True, "stdin": stdin, "stdout": output, "stderr": output}
    params = {key: int(value) for key, value in wanted.items()}
    with our_errors():
        raw: Any = _client(_QUICK).attach_socket(name, params=params)
    # On a unix socket the SDK hands out a SocketIO, over TLS the socket itself. Both
    # live as long as the response they belong to.
    stream = cast(socket.socket, getattr(raw, "_sock", None) or raw)
    streams.callback(raw._response.close)
    streams.callback(stream.close)
    return stream


def was_oom(name: str, exit_code: int) -> bool:
    """Whether the kernel killed it for memory. The report can trail the exit."""
    for attempt in range(7):
        with our_errors():
            state = _client(_QUICK).inspect_container(name)["State"]
        if state["OOMKilled"] or exit_code != 137:
            return bool(state["OOMKilled"])
        time.sleep(0.01 * 2**attempt)
    return False


def logs(name: str, lines: int, *, times: bool = True) -> bytes:
    """The last lines of both outputs, with their times; b"" of one that is gone."""
    with our_errors():
        try:
            read: Any = _client(_QUICK).logs
            return bytes(read(name, tail=lines, timestamps=times))
        except docker.errors.NotFound:
            return b""


@contextmanager
def our_errors(*, refusable: bool = False) -> Iterator[None]:
    """Turn what the SDK and its sockets raise into our errors."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageMissing("The image of this deployment is gone.") from error
    except docker.errors.APIError as error:
        if refusable and _is_refusal(error):
            raise ContainerRefused(_reason(error)) from error
        raise ContainerEngineError(f"Docker: {_reason(error)}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        let_go(error)  # the SDK leaves a socket open that could not be connected
        raise ContainerEngineError(f"Docker does not answer: {error}") from error
    except OSError as error:
        raise ContainerEngineError(f"Docker went away: {error}") from error


def _is_refusal(why: docker.errors.APIError) -> bool:
    """Whether the image is at fault; of a USER it does not have 20.10 says 500."""
    return why.status_code == 400 or "no matching entries in" in str(why.explanation)


def _reason(error: docker.errors.APIError) -> str:
    return re.sub(r"\s+", " ", str(error.explanation or error))[:500]


def _client(timeout: int) -> docker.APIClient:
    """This thread's client for calls that may take `timeout` seconds."""
    if not settings.DOCKER_ENABLED:
        raise Unavailable("Docker is switched off (DOCKER_ENABLED).")
    host = str(settings.DOCKER_HOST)
    key = (os.getpid(), host, timeout)
    clients: dict[Any, docker.APIClient] = _local.__dict__.setdefault("clients", {})
    if key not in clients:
        clients[key] = _connect(host, timeout)
    return clients[key]


def _connect(host: str, timeout: int) -> docker.APIClient:
    client = docker.APIClient(
        base_url=host, tls=_tls(host), timeout=timeout, version=_api_version(host)
    )
    return _isolated(client, host)


@lru_cache(maxsize=8)
def _api_version(host: str) -> str:
    """What the daemon speaks. The SDK would ask with the environment's proxies and
    certificates, and once for every thread."""
    client = docker.APIClient(
        base_url=host, tls=_tls(host), timeout=_QUICK, version="1.41"
    )
    answer = _isolated(client, host).version(api_version=False)
    return str(answer["ApiVersion"])


def _isolated(client: docker.APIClient, host: str) -> docker.APIClient:
    # Neither a proxy, nor a .netrc, nor another bundle of authorities
    # (REQUESTS_CA_BUNDLE wins over the one we give) between us and the daemon.
    client.trust_env = False
    if host.startswith("unix://"):
        # The SDK pools by address, and every container has addresses of its own: it
        # would keep 25 idle connections per thread and use none of them again.
        client.headers["Connection"] = "close"
    return client


def _tls(host: str) -> TLSConfig | bool:
    if not settings.DOCKER_TLS_VERIFY or host.startswith("unix://"):
        return False
    certificates = Path(settings.DOCKER_CERT_PATH)
    return TLSConfig(
        client_cert=(str(certificates / "cert.pem"), str(certificates / "key.pem")),
        ca_cert=str(certificates / "ca.pem"),
        verify=True,
    )


# -- Files and images of our own -------------------------------------------------------


def put_archive(container: str, place: str, data: bytes) -> None:
    """Unpack a tar in a container."""
    with our_errors():
        _client(_QUICK * 3).put_archive(container, place, data)


def archive_of(container: str, path: str) -> bytes | None:
    """A tar with a container's file; None where there is none."""
    with our_errors():
        try:
            chunks, _ = _client(_QUICK * 3).get_archive(container, path)
        except docker.errors.NotFound:
            return None
        return b"".join(chunks)


def import_image(repository: str, tag: str, data: bytes, changes: list[str]) -> str:
    """The id of an image whose files are those of a tar; made where it is missing."""
    client: Any = _client(_QUICK * 3)
    reference = f"{repository}:{tag}"
    with our_errors():
        try:
            return str(client.inspect_image(reference)["Id"])
        except docker.errors.ImageNotFound:
            client.import_image_from_data(
                data, repository=repository, tag=tag, changes=changes
            )
        return str(client.inspect_image(reference)["Id"])


def remove_volumes(installation: str) -> None:
    """Remove the volumes of an installation; one that is in use stays."""
    prefix = f"zerverless-{installation}-"
    with our_errors():
        found = _client(_QUICK).volumes(filters={"name": prefix})["Volumes"] or []
        for name in (str(row["Name"]) for row in found):
            try:
                if name.startswith(prefix):
                    _client(_QUICK).remove_volume(name)
            except docker.errors.APIError as error:
                if error.status_code not in {404, 409}:
                    raise


# -- Containers that stay --------------------------------------------------------------


def pause(name: str) -> None:
    """Freeze every process of a container."""
    with our_errors():
        _client(_QUICK).pause(name)


def resume(name: str) -> None:
    """Let a paused container go on."""
    with our_errors():
        _client(_QUICK).unpause(name)


def state(name: str) -> State | None:
    """How a container is; None when it is not there."""
    with our_errors():
        try:
            found = _client(_QUICK).inspect_container(name)
        except docker.errors.NotFound:
            return None
    networks = found["NetworkSettings"]["Networks"] or {}
    return State(
        has_ended=found["State"]["Status"] in {"exited", "dead"},
        exit_code=int(found["State"]["ExitCode"]),
        address=next((str(one["IPAddress"]) for one in networks.values()), ""),
    )


class Ends:
    """The containers with a label that end, as it happens; read it in a thread.

    Nothing is missed from `since` on (Unix time). It is over after some minutes without
    news, when the engine goes away, and when it is closed. Raises ContainerEngineError.
    """

    def __init__(self, label: str, since: float) -> None:
        filters = {"type": "container", "event": "die", "label": label}
        with our_errors():
            news: Any = _client(_NEWS).events
            self._stream = news(since=f"{since:.3f}", filters=filters, decode=True)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Name and exit code of each."""
        with our_errors():
            for event in self._stream:
                about = event["Actor"]["Attributes"]
                yield str(about["name"]), int(about.get("exitCode", 255))

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
        client: Any = _client(_QUICK)
        if not client.networks(names=[f"^{name}$"]):
            client.create_network(
                name, "bridge", options, check_duplicate=True, internal=internal
            )
        [found, *_] = client.networks(names=[f"^{name}$"])
    return str(found["IPAM"]["Config"][0]["Gateway"])


def remove_network(name: str) -> None:
    """Remove a network unless it is in use; gone already is fine."""
    with our_errors():
        try:
            _client(_QUICK).remove_network(name)
        except docker.errors.APIError as error:
            if error.status_code not in {403, 404}:
                raise
