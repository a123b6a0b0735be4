"""A client of the Docker daemon's API for one errand, and its errors as ours."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import requests
from django.conf import settings
from docker.errors import DockerException
from docker.tls import TLSConfig

from builds.errors import BuildEngineError

_QUICK = 30  # seconds one call to the image API may take


@contextmanager
def api_client(seconds: int = 0) -> Iterator[Any]:  # the SDK's types are incomplete
    """A client for one errand: no connection is shared with a forked worker."""
    try:
        _knock()
        api = docker.APIClient(
            base_url=settings.DOCKER_HOST,
            tls=_tls(),
            timeout=seconds or _QUICK,
            version="auto",
        )
        try:
            yield api
        finally:
            api.close()
    except (DockerException, requests.RequestException, OSError) as error:
        raise BuildEngineError(
            f"The Docker daemon at {settings.DOCKER_HOST} does not do what it should: "
            f"{error}. Is it running, and may this process use it?"
        ) from error


def _knock() -> None:
    """Raise OSError when no daemon listens; the SDK would leave its socket open."""
    kind, _, path = settings.DOCKER_HOST.partition("://")
    if kind == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_QUICK)
            probe.connect(path)


def _tls() -> TLSConfig | bool:
    if not settings.DOCKER_TLS_VERIFY:
        return False
    path = Path(settings.DOCKER_CERT_PATH)
    return TLSConfig(
        client_cert=(str(path / "cert.pem"), str(path / "key.pem")),
        ca_cert=str(path / "ca.pem"),
        verify=True,
    )
