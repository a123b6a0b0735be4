"""The gateway's listening socket, its connections, and the clock that ends waits.

An HTTP/1.1 server of our own because the warm path is the product: measured beside
granian and uvicorn in docs/decisions/0009. Parsing is llhttp's.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from email.utils import formatdate
from time import monotonic, perf_counter

from runtime import http_request
from runtime.client_connection import ClientConnection, Handler
from runtime.exchange import Exchange

log = logging.getLogger(__name__)

TICK = 0.25
BACKLOG = 1024
# Of the file descriptors we may have; the rest is for functions, files and the daemon.
_SHARE = 0.6


class Server:
    """Accepts connections on one address until `stop`."""

    def __init__(self, handle: Handler, tick: Callable[[float], None]) -> None:
        """`handle` gets each request, `tick` the time of time.perf_counter."""
        self.connections: set[ClientConnection] = set()
        self._handle = handle
        self._also_tick = tick
        self._servers: list[asyncio.Server] = []
        self._most = int(_raise_file_limit() * _SHARE)
        self._ticking: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int, *, shared: bool = False) -> None:
        """Listen; `shared` lets several gateways have one port. Raises OSError."""
        self._tick()
        loop = asyncio.get_running_loop()
        self._take(
            await loop.create_server(
                self._connect, host, port, backlog=BACKLOG, reuse_port=shared or None
            )
        )

    async def adopt(self, descriptors: list[int]) -> None:
        """Take connections from sockets that listen already, whoever opened them."""
        self._tick()
        loop = asyncio.get_running_loop()
        for descriptor in descriptors:
            listening = socket.socket(fileno=descriptor)
            self._take(
                await loop.create_server(self._connect, sock=listening, backlog=BACKLOG)
            )

    def _take(self, server: asyncio.Server) -> None:
        self._servers.append(server)
        for listening in server.sockets:
            _notice_silence(listening)

    def _connect(self) -> asyncio.Protocol:
        if len(self.connections) >= self._most:
            return _Refusal()
        return ClientConnection(self._handle, self.connections)

    def _tick(self) -> None:
        now = monotonic()
        Exchange.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        for connection in list(self.connections):
            connection.tick(now)
        self._also_tick(perf_counter())
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    async def stop(self, seconds: float) -> None:
        """Take no new connection, give those there are time, then end them."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.drain()
        deadline = monotonic() + seconds
        while self.connections and monotonic() < deadline:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.transport.abort()
        if self._ticking is not None:
            self._ticking.cancel()


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n"
            b"x-zerverless-error: ZV503\r\nx-request-id: %b\r\n"
            b"content-length: 0\r\nconnection: close\r\n\r\n"
            % http_request.new_id().encode()
        )
        transport.close()


def _notice_silence(listening: socket.socket) -> None:
    """Have the kernel ask clients that say nothing whether they are still there, in
    vain for two minutes at most; accepted sockets inherit it."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _raise_file_limit() -> int:
    """As many file descriptors as the system lets us have; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
