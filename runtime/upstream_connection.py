"""A connection to an HTTP/1.1 server of ours: sends requests in turn, parses answers.

Callback style, for the relay: bytes in, then `relay.advance()`. Answers are framed by
llhttp; both directions are held back by the slower side.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from typing import Any, Protocol, cast

import httptools

from applications.errors import PlatformError
from runtime.http_request import RawHeaders

HIGH_WATER = 256 * 1024
HEAD_MAX = 64 * 1024
_PIECE = 64 * 1024
_EARLY_HINTS = 103
# Anything else below 200 is no interim answer: llhttp reads a body behind it.
_INTERIM = frozenset({100, 102, _EARLY_HINTS})


class UpstreamFailed(PlatformError):
    """The other side broke off, spoke no HTTP, or took too long."""

    code = "upstream:failed"


class Receiver(Protocol):
    """Who is told about an answer."""

    def advance(self) -> None:
        """Something of the answer has come."""

    def hinted(self, headers: RawHeaders) -> None:
        """A `103 Early Hints` has come."""

    def upgraded(self, rest: bytes) -> None:
        """The protocol has been switched; `rest` is the first of the new one."""

    def upstream_writable(self, *, can: bool) -> None:
        """The other side takes more, or no more for now."""

    def failed(self, reason: str) -> None:
        """No more will come."""


class TunnelEnd(Protocol):
    """Who is told once the protocol has been switched."""

    def from_upstream(self, data: bytes) -> None:
        """Bytes of the new protocol."""

    def upstream_ended(self) -> None:
        """No more will come, but some may still go."""

    def upstream_writable(self, *, can: bool) -> None:
        """The other side takes more, or no more for now."""

    def failed(self, reason: str) -> None:
        """The connection is gone."""


def answer_parser(receiver: Any) -> Any:
    """A parser of answers. Lines of the head may end in LF alone, as CGI programs' do
    behind busybox's httpd (RFC 9112 section 2.2); what the client gets is framed anew.
    """
    parser = httptools.HttpResponseParser(receiver)
    parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
    return parser


class UpstreamConnection(asyncio.Protocol):
    """One connection; carries one exchange at a time."""

    def __init__(self, raw: socket.socket | None = None) -> None:
        self.transport: asyncio.Transport
        self.socket = raw
        self._tcp = raw if raw and raw.family != socket.AF_UNIX else None
        self.receiver: Receiver | None = None
        self.is_writable = True
        self.is_lost = False
        self.tunnel: TunnelEnd | None = None
        self.is_proven = False  # the other side keeps connections open
        self.idle_since = 0.0
        self._spare: socket.socket | None = None  # of the same socket
        self._parser: Any = None
        self._chunks: deque[bytes] = deque()
        self._head_only = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: RawHeaders = []
        self.has_head = self.is_complete = self.keeps_alive = False
        self._head_bytes = self._buffered = 0

    # -- asyncio.Protocol -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.from_upstream(data)
            return
        receiver = self.receiver
        if receiver is None or self.is_complete:
            # Bytes nobody asked for would be taken for the next request's answer.
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            receiver.upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._misunderstood(error)
        else:
            self._progress(receiver, len(data))

    def _misunderstood(self, error: httptools.HttpParserError) -> None:
        if self.is_complete and self.receiver is not None:
            self.keeps_alive = False  # something follows the answer: nobody's
            self.receiver.advance()
        else:
            self._break(f"its answer is not HTTP/1.1: {error}")

    def _progress(self, receiver: Receiver, size: int) -> None:
        if not self.is_complete:
            if not self.has_head:
                self._head_bytes += size
                if self._head_bytes > HEAD_MAX:
                    self._break("the head of its answer is too large")
                    return
            self._acknowledge()
        receiver.advance()

    def _acknowledge(self) -> None:
        """Confirm at once what has come.

        A server that writes head and body one after the other, without TCP_NODELAY,
        sends the second when the first is confirmed, which the kernel puts off for
        40 ms (Nagle's algorithm meets delayed acknowledgements, tcp(7)).
        """
        if self._tcp is not None and not self.transport.is_closing():
            self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.upstream_ended()
            return True  # keeps our side open
        receiver = self.receiver
        if receiver is None:
            return False
        if self.has_head and not self.is_complete and self._ends_with_connection():
            self.is_complete = True
            self.keeps_alive = False
            receiver.advance()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.keeps_alive = False
        self._read_the_rest()
        listener = self._release()
        if listener is not None:
            listener.failed("it closed the connection without a whole answer")

    def pause_writing(self) -> None:
        self.is_writable = False
        listener = self.tunnel or self.receiver
        if listener is not None:
            listener.upstream_writable(can=False)

    def resume_writing(self) -> None:
        self.is_writable = True
        listener = self.tunnel or self.receiver
        if listener is not None:
            listener.upstream_writable(can=True)

    def keep_readable(self) -> None:
        """For who writes as long as it reads: a write that fails closes the transport
        at once, and with it what has come but was not read yet."""
        if self.socket is not None and not self.transport.is_closing():
            self._spare = self.socket.dup()

    def _read_the_rest(self) -> None:
        if self._spare is None:
            return
        with suppress(OSError):  # nothing more, or the end
            while self.tunnel or (self.receiver and not self.is_complete):
                data = self._spare.recv(_PIECE, socket.MSG_DONTWAIT)
                if not data:
                    self.eof_received()
                    break
                self.data_received(data)
        self._close_spare()

    def _close_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _break(self, reason: str) -> None:
        listener = self._release()
        self.transport.abort()
        if listener is not None:
            listener.failed(reason)

    def _release(self) -> Receiver | TunnelEnd | None:
        listener = self.tunnel or self.receiver
        self.tunnel = self.receiver = None
        return listener

    # -- httptools --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.is_complete:  # an answer nobody asked for: part of the next one's?
            self.keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # else it is a trailer, which nobody gets
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.has_head:
            return
        status = self._parser.get_status_code()
        if status in _INTERIM:
            if status == _EARLY_HINTS and self.receiver is not None:
                self.receiver.hinted(self.headers)
            self.headers = []
            return
        self.status = status
        self.has_head = True
        self.keeps_alive = self._parser.should_keep_alive()
        if self._head_only:
            self.is_complete = True

    def on_body(self, body: bytes) -> None:
        if not self.is_complete:
            self._chunks.append(body)
            self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_complete = True

    # -- one exchange -----------------------------------------------------------------

    def begin(self, receiver: Receiver, *, head_only: bool) -> None:
        """Get ready for the answer to the request that is sent next."""
        # llhttp goes on with the next answer, but not behind one to HEAD: it waits for
        # the body that was announced and never comes.
        if self._parser is None or self._head_only:
            self._parser = answer_parser(self)
        else:
            self.is_proven = True
        self._head_only = head_only
        self._reset()
        self.receiver = receiver

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        if not self._buffered:
            return b""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        return data

    def end(self) -> None:
        """The exchange is over: forget who was told."""
        self.receiver = None
        if self._spare is not None:
            self._close_spare()

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self.keeps_alive and not self.is_lost and not self.transport.is_closing()

    def abort(self) -> None:
        """Close it at once."""
        self.receiver = self.tunnel = None
        self._close_spare()
        self.transport.abort()

    def _ends_with_connection(self) -> bool:
        return not any(
            name in {b"content-length", b"transfer-encoding"}
            for name, _ in self.headers
        )
