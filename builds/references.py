"""What a registry may be called. Pure."""

from __future__ import annotations

import re

DOCKER_HUB = "docker.io"
# All of them are Docker Hub (distribution/reference, normalize.go; docker/registry).
_HUB_NAMES = {DOCKER_HUB, "index.docker.io", "registry-1.docker.io"}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(
    rf"(?P<name>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]{{2,45}}\])(?::(?P<port>[0-9]{{1,5}}))?"
)


def registry(text: str) -> str:
    """A registry's host in its one spelling; what it cannot be stays as it is."""
    host = text.strip().lower()
    host = re.sub(r"\Ahttps?://", "", host).partition("/")[0]
    return DOCKER_HUB if host in _HUB_NAMES else host


def registry_problem(host: str) -> str:
    """Why `host` cannot be a registry, or an empty string."""
    found = _HOST.fullmatch(host)
    if found is None or len(host) > 255:
        return "must be a host name or address, with its port if that is not 443"
    if found["port"] and not 0 < int(found["port"]) < 65536:
        return "must have a port between 1 and 65535"
    if not _is_host(host):
        return (
            "must have a dot or a port, as registry.example.org or registry:5000: in "
            "FROM, Docker takes anything else for a user of Docker Hub"
        )
    return ""


def _is_host(text: str) -> bool:
    """Docker's own rule for the first part of a name."""
    return "." in text or ":" in text or text == "localhost" or text != text.lower()
