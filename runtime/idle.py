"""Open connections nobody uses at the moment, for the next request."""

from __future__ import annotations

import socket
from time import monotonic

from runtime.upstream_connection import UpstreamConnection

# Shorter than what servers keep idle connections for (gunicorn: 2 s, node: 5 s).
SECONDS = 1.5
# A connection used so lately is not looked into: the look costs a system call. A server
# that closes without saying so does it after a pause, or behind each answer: therefore
# one that has not been used again yet is looked into anyway.
FRESH = 0.005
MOST = 64
# Added up once: as flags of an enumeration that costs half a microsecond.
_PEEK = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


class IdleConnections:
    """A stack: the connection used last is used next, the others go stale."""

    __slots__ = ("_connections",)

    def __init__(self) -> None:
        self._connections: list[UpstreamConnection] = []

    def __len__(self) -> int:
        return len(self._connections)

    def take(self) -> UpstreamConnection | None:
        """A connection that can be used, or None.

        One the other side has closed meanwhile is told by a look into its socket: what
        is sent on it would be lost, and must not be sent twice.
        """
        connections = self._connections
        while connections:
            connection = connections.pop()
            idle = monotonic() - connection.idle_since
            if connection.is_usable and (
                (idle < FRESH and connection.is_proven)
                or (idle < SECONDS and not _has_news(connection.socket))
            ):
                return connection
            connection.abort()
        return None

    def keep(self, connection: UpstreamConnection, now: float = 0.0) -> None:
        """Put a connection aside whose answer was read to its end."""
        if len(self._connections) < MOST:
            connection.idle_since = now or monotonic()
            self._connections.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Drop them all."""
        while self._connections:
            self._connections.pop().abort()


def _has_news(raw: socket.socket | None) -> bool:
    """Whether a socket that should be silent has something to read, or has ended."""
    if raw is None:
        return False
    try:
        raw.recv(1, _PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
