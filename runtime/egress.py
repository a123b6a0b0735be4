"""The way out of a server function with `network: egress`: what its sandbox has beyond
any other. docs/decisions/0010 says why it is made like this.

Its container is in a bridge network of the installation, and its door, before it comes,
puts a packet filter in place (runtime/door/guard.c): the internet can be reached, what
is private cannot, but for what the operator allows.
"""

from __future__ import annotations

import fcntl
import os
import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from django.conf import settings

from runtime import engine, engine_files, files
from runtime.errors import ContainerEngineError, FunctionFailed

NONE, EGRESS = "none", "egress"  # as the manifest calls them
_RESOLV_CONF = "/etc/resolv.conf"
_RESOLVERS_MAX = 8
_DNS = 53
_NO_GUARD = 60  # runtime/door/filter.h
# As of SIGABRT, SIGKILL, SIGSEGV and SIGTERM: the numbers are no errors of its.
_SIGNALS = {134, 137, 139, 143}
# What the door needs until its guard is in place; then it has none of them.
_CAPABILITIES = ["NET_ADMIN", "SETGID", "SETUID"]


def network_name(installation: str) -> str:
    """One for all gateways of an installation: an engine has room for thirty."""
    return f"zerverless-{installation}-egress"


def ensure_network(name: str, shared: Path) -> None:
    """Make it where it is missing: one process at a time, `shared` being a directory
    of them all. Docker looks for the name without a lock, and of two at once it makes
    two networks, whose name then is ambiguous."""
    with (shared / "egress.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        engine.ensure_network(name, internal=False)


def check(network: str) -> None:
    """FunctionFailed where a function may not have the network its manifest says."""
    if network == EGRESS and not settings.ZERVERLESS_EGRESS:
        raise FunctionFailed(
            "Its manifest says network: egress, and that is switched off on this "
            "installation (ZERVERLESS_EGRESS)."
        )


def widen(config: dict[str, Any], network: str, resolvers: list[str]) -> None:
    """Turn the config of a sandbox's container into that of one with a way out.

    Root until the guard is in place, then whom the config named: the directory of the
    socket is for nobody else.
    """
    allowed = [f"{one}/32:{_DNS}" for one in resolvers]
    allowed += settings.ZERVERLESS_EGRESS_ALLOW
    config["User"] = "0:0"
    config["Cmd"] += [str(os.getuid()), str(os.getgid()), *allowed]
    config["HostConfig"] |= {"NetworkMode": network, "CapAdd": _CAPABILITIES}


def resolvers(container: str) -> list[str]:
    """The name servers the engine gives its containers, from one on no network.

    The engine asks them from within a function's network, so the guard has to let
    lookups through although most of them have private addresses.
    """
    archive = engine_files.archive_of(container, _RESOLV_CONF)
    content = None if archive is None else files.first_of(archive)
    if content is None:
        raise ContainerEngineError("Docker does not tell its name servers.")
    return name_servers(content.decode("ascii", "replace"))


def name_servers(resolv_conf: str) -> list[str]:
    """The IPv4 addresses of a resolv.conf; there is no IPv6 in the network."""
    named = re.findall(r"(?m)^\s*nameserver\s+([0-9.]+)\s*$", resolv_conf)
    return [one for one in named if _is_address(one)][:_RESOLVERS_MAX]


def _is_address(text: str) -> bool:
    try:
        return not IPv4Address(text).is_loopback
    except ValueError:
        return False


def no_guard(code: int) -> FunctionFailed | None:
    """What the exit code of a door says about its guard; None when nothing."""
    error = code - _NO_GUARD
    if error <= 0 or code in _SIGNALS:
        return None
    return FunctionFailed(
        "There is no network: egress on this machine: its guard cannot be put in place "
        f"(nftables: {os.strerror(error)})."
    )
