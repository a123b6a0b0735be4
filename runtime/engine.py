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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
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
)
from runtime.pump import Pump, Stopped

logger = logging.getLogger(__name__)

# Seconds. A call to a daemon that hangs must end: start has a setting of its own.
_QUICK = 10
_GRACE = 0.5
_local = threading.local()


@dataclass(frozen=True)
class Image:
    """What the engine says about an image, as far as running it depends on it."""

    id: str
    volumes: tuple[str, ...]
    user: str
    workdir: str
    has_command: bool
    env: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Container:
    """A container of ours. `owner` is the gateway in its name, `created` Unix time."""

    id: str
    name: str
    owner: str
    image_id: str
    created: int
    state: str


@dataclass
class Outcome:
    """How one container ended. `exit_code` is None when we killed it."""

    stopped: Stopped
    exit_code: int | None = None
    oom: bool = False
    stdout: bytes = b""
    stderr: bytes = b""
    stderr_cut: bool = False
    phases: dict[str, float] = field(default_factory=dict)


def container_name(installation: str, gateway_id: str, invocation_id: str) -> str:
    """The name that says whose it is; labels cannot: an image brings its own."""
    return f"zerverless-{installation}-{gateway_id}-{invocation_id}"


def run_once(
    name: str,
    config: dict[str, Any],
    *,
    body: bytes,
    timeout: float,
    max_output: int,
    cancelled: Callable[[], bool],
) -> Outcome:
    """Run one container from create to remove and return how it ended.

    `config` is the body of the Engine API's "create a container"; `timeout` is in
    seconds from the moment the container has started. The container and its volumes
    are removed whatever happens. Raises ImageMissing, ContainerRefused (the image
    cannot be started as it is) and ContainerEngineError.
    """
    phases: dict[str, float] = {}
    with ExitStack() as stack:
        with _phase(phases, "create"):
            _create(name, config)
        stack.callback(removal.soon, remove, name)
        streams = stack.enter_context(ExitStack())
        with _phase(phases, "attach"):
            pump = _attach(streams, name, body, max_output)
        with _phase(phases, "start"), _our_errors(refusable=True):
            _client(_start_timeout()).start(name)
        with _phase(phases, "run"), _our_errors():
            outcome = _supervise(name, pump, timeout, cancelled)
        if outcome.stopped is not Stopped.END:
            _stop(name, pump, outcome)
    outcome.phases = phases
    return outcome


def remove(name: str) -> None:
    """Kill and remove a container with its anonymous volumes; gone already is fine."""
    with _our_errors():
        try:
            _client(_QUICK * 3).remove_container(name, v=True, force=True)
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            if error.status_code != requests.codes.conflict:  # "already in progress"
                raise


def kill(name: str, signal: str = "SIGKILL") -> None:
    """Send a signal; a container that is not running (any more) is fine."""
    with _our_errors():
        try:
            _client(_QUICK).kill(name, signal)
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:
                raise


def ping() -> None:
    """Return when the engine answers, raise ContainerEngineError when it does not."""
    with _our_errors():
        _client(_QUICK).ping()


def list_ours(installation: str) -> list[Container]:
    """Every container whose name says it is this installation's, running or not."""
    prefix = f"zerverless-{installation}-"
    with _our_errors():
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
    with _our_errors():
        inspect: Any = _client(_QUICK).inspect_image
        config = inspect(image_id).get("Config") or {}
    return Image(
        id=image_id,
        volumes=tuple(sorted(config.get("Volumes") or ())),
        user=config.get("User") or "",
        workdir=config.get("WorkingDir") or "",
        has_command=bool(config.get("Cmd") or config.get("Entrypoint")),
        env=tuple(config.get("Env") or ()),
        labels=tuple(config.get("Labels") or ()),
    )


def _create(name: str, config: dict[str, Any]) -> None:
    create: Any = _client(_start_timeout()).create_container_from_config
    try:
        with _our_errors(refusable=True):
            create(config, name)
    except ContainerEngineError as error:
        # Undo a creation whose end we did not see. Where the engine has answered, it
        # made nothing, and under a name that was taken there is somebody else's.
        if not isinstance(error.__cause__, docker.errors.APIError):
            removal.soon(remove, name)
        raise


def _attach(streams: ExitStack, name: str, body: bytes, max_output: int) -> Pump:
    """Attach before the start, or a short-lived container's output would be lost."""
    one = settings.DOCKER_HOST.startswith("unix://")
    output = _stream(streams, name, stdin=bool(body) and one, output=True)
    if not body:
        return Pump(output, None, body, max_output)
    feed = output if one else _stream(streams, name, stdin=True, output=False)
    return Pump(output, feed, body, max_output)


def _stream(
    streams: ExitStack, name: str, *, stdin: bool, output: bool
) -> socket.socket:
    wanted = {"stream": True, "stdin": stdin, "stdout": output, "stderr": output}
    params = {key: int(value) for key, value in wanted.items()}
    with _our_errors():
        raw: Any = _client(_QUICK).attach_socket(name, params=params)
    # On a unix socket the SDK hands out a SocketIO, over TLS the socket itself. Both
    # live as long as the response they belong to.
    stream = cast(socket.socket, getattr(raw, "_sock", None) or raw)
    streams.callback(raw._response.close)
    streams.callback(stream.close)
    return stream


def _supervise(
    name: str, pump: Pump, timeout: float, cancelled: Callable[[], bool]
) -> Outcome:
    until = time.monotonic() + timeout
    outcome = Outcome(pump.run(until, cancelled))
    if outcome.stopped is Stopped.END:
        _wait_for_exit(name, outcome, until, cancelled)
    outcome.stdout = pump.stdout
    outcome.stderr, outcome.stderr_cut = pump.stderr, pump.stderr_cut
    return outcome


def _wait_for_exit(
    name: str, outcome: Outcome, until: float, cancelled: Callable[[], bool]
) -> None:
    """Both outputs are closed, so normally it ends now; but it may live on silently."""
    while (left := until - time.monotonic()) > 0 and not cancelled():
        with _our_errors():
            try:
                wait: Any = _client(_QUICK).wait  # typed as whole seconds
                status = wait(name, timeout=min(left, 0.5))
            except (requests.exceptions.Timeout, requests.exceptions.ConnectionError):
                # The SDK reports a read timeout in the middle of an answer as a
                # ConnectionError; a daemon that is really gone fails the next call.
                ping()
                continue
        outcome.exit_code = int(status["StatusCode"])
        outcome.oom = outcome.exit_code != 0 and _was_oom(name, outcome.exit_code)
        return
    outcome.stopped = Stopped.CANCELLED if cancelled() else Stopped.DEADLINE


def _was_oom(name: str, exit_code: int) -> bool:
    """Whether the kernel killed it for memory. The report can trail the exit."""
    for attempt in range(5):
        with _our_errors():
            state = _client(_QUICK).inspect_container(name)["State"]
        if state["OOMKilled"] or exit_code != 137:
            return bool(state["OOMKilled"])
        time.sleep(0.01 * 2**attempt)
    return False


def _stop(name: str, pump: Pump, outcome: Outcome) -> None:
    """SIGTERM and a short grace where there is time for it.

    SIGKILL comes with the removal, behind the answer and after our end of the streams
    is closed: the engine calls a container dead only when its output has been read,
    and with that end still open it would wait for us.
    """
    if outcome.stopped is not Stopped.DEADLINE:
        return
    try:
        kill(name, "SIGTERM")
        pump.discard_stdout()
        with _our_errors():
            pump.run(time.monotonic() + _GRACE, lambda: False)
    except ContainerEngineError:
        # How the request ends is decided already; a failing engine does not change it.
        logger.warning("container %s could not be stopped", name, exc_info=True)
    outcome.stderr, outcome.stderr_cut = pump.stderr, pump.stderr_cut


@contextmanager
def _phase(phases: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        phases[name] = round((time.perf_counter() - started) * 1000, 2)


@contextmanager
def _our_errors(*, refusable: bool = False) -> Iterator[None]:
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageMissing("The image of this deployment is gone.") from error
    except docker.errors.APIError as error:
        if refusable and _is_refusal(error):
            raise ContainerRefused(_reason(error)) from error
        raise ContainerEngineError(f"Docker: {_reason(error)}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise ContainerEngineError(f"Docker does not answer: {error}") from error
    except OSError as error:
        raise ContainerEngineError(f"Docker went away: {error}") from error


def _is_refusal(error: docker.errors.APIError) -> bool:
    """Whether the image is at fault; of a USER it does not have 20.10 says 500."""
    unknown_user = "no matching entries in" in str(error.explanation)
    return unknown_user or error.status_code == requests.codes.bad_request


def _reason(error: docker.errors.APIError) -> str:
    return re.sub(r"\s+", " ", str(error.explanation or error))[:500]


def _start_timeout() -> int:
    return int(settings.ZERVERLESS_COLD_START_TIMEOUT)


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
