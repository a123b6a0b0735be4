"""The Docker Engine without us: its HTTP API, called with as little as it takes."""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any

API = "/v1.41"  # Engine 20.10


class Engine:
    """One keep-alive connection to the daemon. `os.environ["DOCKER_HOST"]` names it;
    only unix sockets, because the reference is the quickest way there is."""

    def __init__(self) -> None:
        address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if not address.startswith("unix://"):
            raise RuntimeError(f"the benchmarks need a unix socket, not {address}")
        self._connection = _UnixConnection(address.removeprefix("unix://"))

    def create(self, image: str, **host: Any) -> str:
        """The id of a new container on `none`; `host` adds to its HostConfig."""
        command = host.pop("Cmd", None)
        config = {"Image": image, "HostConfig": {"NetworkMode": "none", **host}}
        if command:
            config["Cmd"] = command
        return str(self._call("POST", "/containers/create", config)["Id"])

    def start(self, container: str) -> None:
        self._call("POST", f"/containers/{container}/start")

    def wait(self, container: str) -> None:
        """Return when it has ended."""
        self._call("POST", f"/containers/{container}/wait")

    def remove(self, container: str) -> None:
        self._call("DELETE", f"/containers/{container}?force=1&v=1")

    def pause(self, container: str) -> None:
        self._call("POST", f"/containers/{container}/pause")

    def unpause(self, container: str) -> None:
        self._call("POST", f"/containers/{container}/unpause")

    def states(self, name: str) -> list[str]:
        """The states of the containers with `name` in their labels or names."""
        rows = self._call("GET", "/containers/json?all=1")
        return [row["State"] for row in rows if name in json.dumps(row)]

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = json.dumps(body) if body is not None else None
        content = {"Content-Type": "application/json"}
        try:
            self._connection.request(method, API + path, data, content)
        except BrokenPipeError:  # the engine has closed it meanwhile; it was not sent
            self._connection.close()
            self._connection.request(method, API + path, data, content)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text else None


def plain_start(engine: Engine, image: str) -> None:
    """Create, start, remove: the least that a container of its own can cost."""
    container = engine.create(image)
    engine.start(container)
    engine.remove(container)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
