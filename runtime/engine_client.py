"""This thread's clients of the Docker Engine, and their errors as ours.

Clients are per thread and per process: the SDK's pool on a unix socket is not safe
between threads (it closes the pool of another request when it is full), and a forked
process must not share its parent's connections.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import docker
import requests
from django.conf import settings
from docker.tls import TLSConfig

from runtime.errors import (
    ContainerEngineError,
    ContainerRefused,
    ImageMissing,
    Unavailable,
    let_go,
)

# Seconds. A call to a daemon that hangs must end: start has a setting of its own.
QUICK = 10
_local = threading.local()


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


def client(timeout: int) -> docker.APIClient:
    """This thread's client for calls that may take `timeout` seconds."""
    if not settings.DOCKER_ENABLED:
        raise Unavailable("Docker is switched off (DOCKER_ENABLED).")
    host = str(settings.DOCKER_HOST)
    key = (os.getpid(), host, timeout)
    clients: dict[Any, docker.APIClient] = _local.__dict__.setdefault("clients", {})
    if key not in clients:
        clients[key] = _connect(host, timeout)
    return clients[key]


def socket_of(raw: Any, streams: ExitStack) -> socket.socket:
    """The socket of a stream that the SDK hands out, closed with `streams`."""
    # On a unix socket the SDK hands out a SocketIO, over TLS the socket itself. Both
    # live as long as the response they belong to.
    stream = cast(socket.socket, getattr(raw, "_sock", None) or raw)
    streams.callback(raw._response.close)
    streams.callback(stream.close)
    return stream


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
        base_url=host, tls=_tls(host), timeout=QUICK, version="1.41"
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
