"""What a host name serves: functions of all namespaces, those of one, the dashboard.

`ZERVERLESS_FUNCTIONS_HOST` decides:

| setting        | functions answer at                      | and the dashboard at    |
|----------------|------------------------------------------|-------------------------|
| empty          | `/<namespace>/<path>`, at any host name; | any host name but those |
|                | where the dashboard is on this machine,  |                         |
|                | at `<namespace>.localhost/<path>` too    |                         |
| `fn.example`   | `fn.example/<namespace>/<path>`          | every other host name   |
| `*.fn.example` | `<namespace>.fn.example/<path>`          | every other host name   |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from django.conf import settings

# Browsers resolve every name below it to this machine, without any name server.
LOCAL = ".localhost"
_PORT = re.compile(r":[0-9]*\Z")
_SETTING = re.compile(r"(?:\*\.)?[a-z0-9][a-z0-9.-]*\Z")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Role:
    """What one host name serves. With a `namespace` its functions alone, at the root:
    an origin that this namespace shares with nobody."""

    functions: bool
    control: bool
    namespace: str | None = None


def role_of(host: str) -> Role:
    """The role of a Host header, with a port or without."""
    return _role(host, settings.ZERVERLESS_FUNCTIONS_HOST, own_suffix())


@lru_cache(maxsize=1024)
def _role(host: str, functions_host: str, suffix: str) -> Role:
    name = name_of(host)
    if suffix and name.endswith(suffix):
        return Role(functions=True, control=False, namespace=name[: -len(suffix)])
    if not functions_host:
        return Role(functions=True, control=True)
    is_functions = not suffix and name == name_of(functions_host)
    return Role(functions=is_functions, control=not is_functions)


def name_of(host: str) -> str:
    """A host in lower case, without its port and the final dot of a full name."""
    return _PORT.sub("", host.strip().lower()).removesuffix(".")


def are_apart() -> bool:
    """Whether functions answer at their namespaces' own host names only."""
    return bool(settings.ZERVERLESS_FUNCTIONS_HOST.startswith("*."))


def own_suffix() -> str:
    """`.fn.example` where every namespace has a host name of its own, else nothing."""
    return _own_suffix(settings.ZERVERLESS_FUNCTIONS_HOST, settings.ZERVERLESS_BASE_URL)


@lru_cache(maxsize=16)
def _own_suffix(functions_host: str, base_url: str) -> str:
    if functions_host.startswith("*."):
        return name_of(functions_host[1:])
    is_local = not functions_host and urlsplit(base_url).hostname in _LOOPBACK
    return LOCAL if is_local else ""


def problem_of(functions_host: str, base_url: str) -> str:
    """Why functions cannot be served there beside this dashboard, or nothing."""
    if not functions_host:
        return ""
    dashboard = urlsplit(base_url).hostname or ""
    name = name_of(functions_host)
    if not _SETTING.match(name):
        return f'"{functions_host}" is not HOST or *.HOST'
    if name == dashboard or (name[0] == "*" and dashboard.endswith(name[1:])):
        return (
            f'the dashboard\'s own host "{dashboard}" (ZERVERLESS_BASE_URL) must not '
            "be one of those for functions: nobody could reach the dashboard"
        )
    return ""


# -- addresses ------------------------------------------------------------------------


def address_of(namespace: str, path: str) -> str:
    """The whole address of a function, as it is shown."""
    if are_apart():
        return own_address_of(namespace, path)
    base = _base(settings.ZERVERLESS_FUNCTIONS_HOST)
    return f"{base}/{namespace}{path}".rstrip("/")


def own_address_of(namespace: str, path: str) -> str:
    """Its address at its namespace's own host name, or nothing where there is none."""
    suffix = own_suffix()
    if not suffix:
        return ""
    named = settings.ZERVERLESS_FUNCTIONS_HOST.removeprefix("*") or suffix
    return f"{_base(namespace + named)}{path}"


def _base(host: str) -> str:
    """Scheme, host and port; those of the dashboard, but for the host's name."""
    public = urlsplit(settings.ZERVERLESS_BASE_URL)
    if not host:
        return f"{public.scheme}://{public.netloc}"
    port = f":{public.port}" if public.port and ":" not in host else ""
    return f"{public.scheme}://{host}{port}"
