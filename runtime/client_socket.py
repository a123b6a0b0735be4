"""A client's socket: written to, held back, and ended so that the client notices.

What is HTTP about it is in runtime/client_connection.py.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from time import monotonic
from typing import cast

WRITE_HIGH = 256 * 1024
# A client that has taken nothing of what we write for so many seconds is cut off.
STALL_SECONDS = 30.0
# Seconds we read on, and throw away, after an answer to a request that we did not read
# to its end: of silence, and in all. A client still sending to a closed socket loses
# the answer (RFC 9112 section 9.6).
LINGER_SECONDS = 2.0
LINGER_MAX = 30.0
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: the close is a reset
_CLOSED, _CLOSE_WAIT = 7, 8  # states of a TCP connection: linux/tcp_states.h


class ClientSocket(asyncio.Protocol):
    """Write with `send`, stop and go on reading with `hold`, end with the others."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.peer = ""
        self.is_lost = False
        self.is_writable = True
        self.is_over = False  # no further request will be answered
        self._held = False
        self._since = self._taken_at = monotonic()  # of the last sign of life
        self._taken = 0
        self._lingers_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)
        self.peer = (transport.get_extra_info("peername") or ("",))[0]

    def hold(self, *, held: bool) -> None:
        """Stop reading, or go on."""
        if held == self._held or self.is_lost or self.transport.is_closing():
            return
        self._held = held
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def send(self, data: bytes) -> None:
        """Write bytes that are not HTTP."""
        if not self.is_lost and not self.transport.is_closing():
            self.transport.write(data)

    # -- the end ----------------------------------------------------------------------

    def end(self) -> None:
        """Close our side, once all that was written has gone."""
        if not self.is_lost and not self.transport.is_closing():
            self.transport.write_eof()

    def close(self) -> None:
        """Close the connection, once all that was written has gone."""
        self.is_over = True
        self.transport.close()

    def cut(self, *, reset: bool) -> None:
        """Break an answer off. With `reset` the client sees that it is not whole even
        where nothing but the connection's end marks its end."""
        if reset and not self.is_lost:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.is_over = True
            self.transport.abort()
        else:
            self.close()

    def linger(self) -> None:
        """Close our side, and read on for a moment."""
        self.is_over = True
        self._since = self._lingers_since = monotonic()
        self.hold(held=False)
        self.end()

    def has_left(self, *, for_good: bool) -> bool:
        """Whether the client has ended its side, or all of it if that is `for_good`,
        while we do not read and so are not told."""
        if not self._held or self.transport.is_closing():
            return False
        raw = self.transport.get_extra_info("socket")
        [state] = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return state == _CLOSED or (state == _CLOSE_WAIT and not for_good)

    def is_stuck(self, now: float, written: int) -> bool:
        """Whether the client takes nothing of what we wrote, for too long now.

        `written` are the bytes of the answer so far; with what still waits to be sent
        it tells how much has gone.
        """
        unsent = self.transport.get_write_buffer_size()
        if not unsent or written - unsent > self._taken:
            self._taken_at = now
        self._taken = written - unsent
        return now - self._taken_at > STALL_SECONDS

    def lingers_too_long(self, now: float) -> bool:
        """Whether a client that was answered neither goes nor has anything to say."""
        if not self._lingers_since:
            return False
        silent = now - self._since > LINGER_SECONDS
        return silent or now - self._lingers_since > LINGER_MAX
