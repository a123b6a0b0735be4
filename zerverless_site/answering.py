"""Do the serving processes answer? Asked from outside them, by `doctor`."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

from django.conf import settings

from zerverless_site.health import Check

_SECONDS = 5
_HINT = "Start `manage.py serve`, or look at its log."


def all_roles() -> list[Check]:
    """The gateway and the dashboard behind it."""
    return [gateway(), web()]


def gateway() -> Check:
    """The public port answers its liveness probe."""
    address = f"http://{settings.ZERVERLESS_BIND}:{settings.ZERVERLESS_PORT}/livez"
    connection = http.client.HTTPConnection(
        _reachable(settings.ZERVERLESS_BIND), settings.ZERVERLESS_PORT, _SECONDS
    )
    return _ask(connection, "gateway", address, "/livez")


def status_of(url: str, seconds: float = 35) -> int:
    """What the gateway answers for one of its public addresses, whose host name need
    not lead here. Raises OSError and HTTPException."""
    public = urlsplit(url)
    connection = http.client.HTTPConnection(
        _reachable(settings.ZERVERLESS_BIND), settings.ZERVERLESS_PORT, seconds
    )
    try:
        connection.request("GET", public.path or "/", headers={"Host": public.netloc})
        return connection.getresponse().status
    finally:
        connection.close()


def web() -> Check:
    """The dashboard answers on its unix socket, whatever the gateway does."""
    socket_path = str(settings.WEB_SOCKET)
    return _ask(_UnixConnection(socket_path), "web", socket_path, "/-/login")


def _ask(
    connection: http.client.HTTPConnection, name: str, where: str, path: str
) -> Check:
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Check(name, False, f"{where}: {error}", _HINT)
    finally:
        connection.close()
    ok = status == http.client.OK
    return Check(name, ok, f"{where} answers {status}", "" if ok else _HINT)


def _reachable(address: str) -> str:
    """An address to connect to, for one that means "all of them"."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)
