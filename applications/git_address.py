"""Where git may connect: the public internet, and what ZERVERLESS_GIT_ALLOW names.

We resolve the host ourselves, drop every address that is not public, and pin git to
what is left. So git connects to the very addresses that were checked, also when the
name resolves differently the second time.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from django.conf import settings

from applications import git_allow
from applications.errors import GitAddressError
from applications.git_allow import Address

# One sentence for refused, closed and not a Git repository: or a form of ours would
# tell a stranger what runs in the operator's network.
NOT_FOUND = (
    "No Git repository was found at this URL: check its spelling, that its server "
    "runs, and that the repository is public. A server at a private address has "
    "to be named in ZERVERLESS_GIT_ALLOW."
)
RESOLVE_SECONDS = 10.0
PINNED_MAX = 8
PINS_SINCE = (2, 37)  # the first git with http.curloptResolve
_PORTS = {"http": 80, "https": 443}
_NOWHERE = "255.255.255.255"  # connecting to it fails at once
# Only 2000::/3 is the internet, and these parts of it are not: IETF protocols with
# Teredo, 6to4, and two ranges for documentation. The first and second reach IPv4.
_INTERNET = IPv6Network("2000::/3")
_NOT_INTERNET = tuple(
    IPv6Network(text)
    for text in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")
)
_NAT64 = IPv6Network("64:ff9b::/96")
_RELAYS = "192.88.99."  # to 6to4, RFC 7526


def refusal() -> GitAddressError:
    """The error for every host that git is not sent to."""
    return GitAddressError(NOT_FOUND, "git:not-found")


def pin(url: str) -> dict[str, str]:
    """Git's configuration that ties a URL's host to checked addresses.

    Raises GitAddressError when no address of the host may be connected to.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        return {}
    host, port = (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]
    number = git_allow.literal(host)
    if number is not None:
        if not _may_reach(host, number, port):
            raise refusal()
        return {}
    _check_git_can_pin(host, port)
    addresses = _addresses(host, port, proxied=_has_proxy(parts.scheme))
    return {"http.curloptResolve": f"{host}:{port}:{','.join(addresses)}"}


def is_public(address: Address) -> bool:
    """Whether an address is one machine's on the public internet, and not ours."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        unusual = any(address in network for network in _NOT_INTERNET)
        return address in _INTERNET and not unusual and not _is_ours(address)
    return (
        address.is_global
        and not address.is_multicast
        and not str(address).startswith(_RELAYS)
        and not _is_ours(address)
    )


def git_version() -> tuple[int, ...]:
    """The numbers of `git --version`; empty when there is no git."""
    try:
        done = subprocess.run(
            ["git", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    words = done.stdout.split()[2:3]
    return tuple(int(n) for n in ".".join(words).split(".")[:2] if n.isdecimal())


@lru_cache(maxsize=1)
def can_pin() -> bool:
    """Whether this machine's git keeps to the addresses it is given."""
    return git_version() >= PINS_SINCE


def _check_git_can_pin(host: str, port: int) -> None:
    """An older git would resolve the name again, and connect where that leads."""
    by_name = git_allow.is_allowed(
        settings.ZERVERLESS_GIT_ALLOW, host, IPv4Address(_NOWHERE), port
    )
    if not by_name and not can_pin():
        raise GitAddressError(
            "Zerverless needs git 2.37 or later to connect to a host by its name: "
            "install it, or name the host in ZERVERLESS_GIT_ALLOW.",
            "git:version",
        )


def _may_reach(host: str, address: Address, port: int) -> bool:
    allowed = settings.ZERVERLESS_GIT_ALLOW
    return git_allow.is_allowed(allowed, host, address, port) or is_public(address)


def _addresses(host: str, port: int, *, proxied: bool) -> list[str]:
    """The addresses of a host that may be connected to; never none.

    Behind a proxy names may be unknown here: it resolves them, and its rules decide.
    Git is then pinned to nowhere, in case it does not use the proxy after all.
    """
    found = _resolve(host, port)
    if not found and proxied:
        return [_NOWHERE]
    good = [address for address in found if _may_reach(host, address, port)]
    if not good:
        raise refusal()
    return [
        f"[{address}]" if address.version == 6 else str(address)
        for address in good[:PINNED_MAX]
    ]


def _resolve(host: str, port: int) -> list[Address]:
    """Every address of a host; none when it has none or nobody answers in time.

    In a thread that is left behind: nothing can interrupt the C library's resolver.
    """
    answers: SimpleQueue[list[Address]] = SimpleQueue()
    threading.Thread(
        target=lambda: answers.put(_look_up(host, port)), name="resolve", daemon=True
    ).start()
    try:
        return answers.get(timeout=RESOLVE_SECONDS)
    except Empty:
        return []


def _look_up(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    # An address of a link carries its interface: fe80::1%eth0.
    texts = [str(place[0]).partition("%")[0] for _, _, _, _, place in found]
    return [ip_address(text) for text in dict.fromkeys(texts)]


def _has_proxy(scheme: str) -> bool:
    """Whether libcurl finds a proxy for the scheme; it reads HTTP_PROXY as no proxy."""
    names = [f"{scheme}_proxy", "all_proxy", "ALL_PROXY"]
    if scheme == "https":
        names.append("HTTPS_PROXY")
    return any(os.environ.get(name) for name in names)


def _is_ours(address: Address) -> bool:
    """Whether it is an address of this machine: only those can be bound to."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
