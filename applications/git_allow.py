"""Private hosts that Git may connect to all the same: ZERVERLESS_GIT_ALLOW.

`git.internal`, `git.internal:3000`, `10.0.0.5`, `10.0.0.0/8:443`, `[fd00::5]:3000`,
`fd00::/8`. Without a port, every port of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address

_WORD = re.compile(
    r"\[(?P<bracketed>[0-9A-Fa-f:.]+(?:/[0-9]+)?)\](?::(?P<port6>[0-9]+))?"
    r"|(?P<bare>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:/[0-9]+)?)"
    r"|(?P<host>[^:/\s]+(?:/[0-9]+)?)(?::(?P<port>[0-9]+))?"
)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
NAME_MAX = 253  # RFC 1035, section 2.3.4


@dataclass(frozen=True)
class Allowed:
    """One entry: a host name or a network, and a port, or 0 for every port."""

    name: str
    network: IPv4Network | IPv6Network | None
    port: int

    def covers(self, host: str, address: Address, port: int) -> bool:
        if self.port not in (0, port):
            return False
        return address in self.network if self.network else host == self.name


@lru_cache(maxsize=256)
def parse(word: str) -> Allowed:
    """One entry of the setting; raises ValueError for anything else."""
    parts = _WORD.fullmatch(word)
    port = int((parts["port"] or parts["port6"] or 0) if parts else -1)
    if parts is None or not 0 <= port <= 65535:
        raise ValueError(_usage(word))
    host = (parts["bracketed"] or parts["bare"] or parts["host"]).lower()
    if is_name(host):
        return Allowed(host, None, port)
    try:
        return Allowed("", ip_network(host, strict=False), port)
    except ValueError as error:
        raise ValueError(_usage(word)) from error


def is_allowed(words: list[str], host: str, address: Address, port: int) -> bool:
    """Whether an entry names this host or this address, at this port."""
    return any(parse(word).covers(host, address, port) for word in words)


def is_name(host: str) -> bool:
    """A lower-case host name, which no resolver takes for a number of an address.

    `2130706433`, `0x7f.1` and `017700000001` are 127.0.0.1 for most of them.
    """
    last = host.rpartition(".")[2]
    return (
        len(host) <= NAME_MAX
        and _NAME.fullmatch(host) is not None
        and _NUMBER.fullmatch(last) is None
    )


def literal(host: str) -> Address | None:
    """The address a URL's host is, written in the one usual way; None for a name."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _usage(word: str) -> str:
    return (
        f'"{word}" is not a host: write HOST, ADDRESS or ADDRESS/BITS, :PORT behind it '
        "or not, and an IPv6 address that has a port in brackets"
    )
