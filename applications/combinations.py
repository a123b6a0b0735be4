"""Keys of a function that make no sense together: what a JSON Schema cannot say well.

A server answers over HTTP and has instances; one container per request answers on its
standard output and has none. Only `port` and what the image exposes decide which one
it is, so here is refused only what no image could make sense of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from applications.errors import Problem
from applications.keywords import NO_PORT
from applications.positions import Document, Path

_Mapping = dict[str, Any]
_ONE_SHOT = "one container per request"
# docs/functions.md; without a port they are names like any other.
_SERVER_VARIABLES = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}


def problems(document: Document, functions: Any) -> Iterator[Problem]:
    """Every clash in `spec.functions`, which may have any shape."""
    for index, item in enumerate(functions if isinstance(functions, list) else ()):
        if isinstance(item, dict):
            here: Path = ("spec", "functions", index)
            yield from _server_problems(document, here, item)
            yield from _network_problems(document, here, item)
            yield from _variables_problems(document, here, item)
            yield from _instances_problems(document, here, item.get("instances"))
            yield from _checks_problems(document, here, item.get("checks"))


def _server_problems(
    document: Document, here: Path, item: _Mapping
) -> Iterator[Problem]:
    port = item.get("port")
    speaks = _speaks(item)
    waits = [key for key in ("instances", "idle") if key in item]
    if isinstance(port, int):
        for key in speaks:
            message = f'Forbidden: with "port" it is a server, this is for {_ONE_SHOT}'
            yield document.problem((*here, key), message, at_key=True)
    elif port == NO_PORT or speaks:
        why = "port: none" if port == NO_PORT else speaks[0]
        for key in waits:
            message = f'Forbidden: with "{why}" it is no server but {_ONE_SHOT}'
            yield document.problem((*here, key), message, at_key=True)


def _network_problems(
    document: Document, here: Path, item: _Mapping
) -> Iterator[Problem]:
    """Egress is for servers; whether it is one may be up to the image (builds)."""
    if item.get("network") != "egress":
        return
    speaks = _speaks(item)
    why = "port: none" if item.get("port") == NO_PORT else next(iter(speaks), "")
    if not settings.ZERVERLESS_EGRESS:
        message = "Forbidden: egress is switched off here (ZERVERLESS_EGRESS)"
    elif why and not isinstance(item.get("port"), int):
        message = f'Forbidden: egress is for servers, with "{why}" it is {_ONE_SHOT}'
    else:
        return
    yield document.problem((*here, "network"), message)


def _speaks(item: _Mapping) -> list[str]:
    """What says how standard output becomes the answer; `raw` says nothing."""
    return [
        key for key in ("response", "contentType") if key in item and item[key] != "raw"
    ]


def _variables_problems(
    document: Document, here: Path, item: _Mapping
) -> Iterator[Problem]:
    env = item.get("env")
    if isinstance(item.get("port"), int) and isinstance(env, dict):
        for name in _SERVER_VARIABLES & env.keys():
            message = "Forbidden: the platform sets this for a server"
            yield document.problem((*here, "env", name), message, at_key=True)


def _instances_problems(
    document: Document, here: Path, instances: Any
) -> Iterator[Problem]:
    given = instances if isinstance(instances, dict) else {}
    low, high = given.get("min"), given.get("max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        message = f"Invalid value: must not be more than max, {high}"
        yield document.problem((*here, "instances", "min"), message)


def _checks_problems(document: Document, here: Path, checks: Any) -> Iterator[Problem]:
    for number, check in enumerate(checks if isinstance(checks, list) else ()):
        request = check.get("request") if isinstance(check, dict) else None
        expect = check.get("expect") if isinstance(check, dict) else None
        is_head = isinstance(request, str) and request.startswith("HEAD ")
        if is_head and isinstance(expect, dict) and "contains" in expect:
            path: Path = (*here, "checks", number, "expect", "contains")
            message = "Forbidden: the answer to HEAD has no body"
            yield document.problem(path, message, at_key=True)
