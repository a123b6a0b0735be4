"""Which ports a container listens on, for a function that ran into its time limit.

A server whose image exposes no port is taken for a function that runs once per request.
It waits for connections until it is stopped: only its sockets tell.
"""

from __future__ import annotations

import re

from runtime import engine_files
from runtime.errors import ContainerEngineError, Unavailable

_TABLES = ["/proc/net/tcp", "/proc/net/tcp6"]
# Ours, in a container that was started ahead, then the image's own.
_READERS = (["/.zerverless/busybox", "cat"], ["cat"])
_LISTENING = re.compile(
    rb"(?m)^ *\d+: [0-9A-F]{8,32}:([0-9A-F]{4}) [0-9A-F]{8,32}:0000 0A "
)
_SECONDS = 2  # its client waits, and what it runs may be made to wait
_MOST = 64 * 1024


def ports(name: str) -> tuple[int, ...]:
    """The TCP ports a running container listens on; none where that cannot be seen."""
    try:
        for reader in _READERS:
            told = engine_files.read_inside(name, [*reader, *_TABLES], _SECONDS, _MOST)
            if found := listed(told):
                return found
    except (ContainerEngineError, Unavailable):
        return ()
    return ()


def listed(tables: bytes) -> tuple[int, ...]:
    """The ports in the kernel's tables of TCP sockets, in order. Pure."""
    return tuple(sorted({int(port, 16) for port in _LISTENING.findall(tables)}))
