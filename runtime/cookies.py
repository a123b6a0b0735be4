"""Cookies of functions: which pass, and where they live. Pure.

Browsers send a cookie by host and path. Where namespaces share a host, one that a
function sets for `/` would be sent to every other function, and a few large ones would
make the dashboard's every request too large.
"""

from __future__ import annotations

import re

# All of the dashboard's begin with it. Functions neither get nor set such cookies.
PREFIX = "zerverless_"
COOKIE_MAX = 4096  # bytes of name and value: browsers take no more
COOKIES_MAX = 50
COOKIES_BYTES_MAX = 16 * 1024  # half of the headers a request may have
_PATH_MAX = 512
# What is taken as it is: browsers compare paths as text, and some clean them before.
_PATH = re.compile(r"/[!-:<-\[\]-~]*\Z")
_DOTS = re.compile(r"/(?:\.|%2e)|%5c", re.I)


def is_ours(name: str) -> bool:
    """Whether a cookie of this name is the dashboard's."""
    return name.strip().startswith(PREFIX)


def without_ours(header: str) -> str:
    """A Cookie header without the dashboard's cookies; empty where none is left."""
    pairs = (pair.strip() for pair in header.split(";"))
    return "; ".join(p for p in pairs if p and not is_ours(p.partition("=")[0]))


def settable(value: str, below: str | None) -> str | None:
    """A Set-Cookie as the browser gets it; None where it is not passed on.

    `below` is the path of the function's own, where it shares its host: the cookie
    lives there or deeper, whatever it asks for. None is a host of its own.
    """
    pair, *attributes = value.split(";")
    name, equals, _ = pair.partition("=")
    # `=name=value` has no name, but comes back as `name=value`.
    if not equals or not name.strip() or is_ours(name):
        return None
    if below is None:
        return _joined(pair, _without(attributes, "domain"))
    if name.strip().lower().startswith("__host-"):
        return None  # it would have to live at "/"
    kept = _without(attributes, "domain", "path")
    return _joined(pair, [*kept, f" Path={_path_of(attributes, below)}"])


def problem_of(cookies: list[str]) -> str:
    """What is too much of these Set-Cookie values, or nothing."""
    pairs = [cookie.partition(";")[0].strip() for cookie in cookies]
    large = next((pair for pair in pairs if len(pair) > COOKIE_MAX + 1), None)
    if large is not None:
        name = ascii(large.partition("=")[0][:60])
        return f"its cookie {name} is over {COOKIE_MAX // 1024} KiB"
    if len(pairs) > COOKIES_MAX or sum(map(len, pairs)) > COOKIES_BYTES_MAX:
        most = f"{COOKIES_MAX} or {COOKIES_BYTES_MAX // 1024} KiB"
        return f"it sets more cookies than {most}"
    return ""


def _path_of(attributes: list[str], below: str) -> str:
    """The path it asks for, if that is below the function's; the last one counts."""
    found = ""
    for attribute in attributes:
        name, _, path = attribute.partition("=")
        if name.strip().lower() == "path":
            found = path.strip(" \t")
    is_plain = (
        len(found) <= _PATH_MAX and _PATH.match(found) and not _DOTS.search(found)
    )
    is_below = found == below or found.startswith(below.rstrip("/") + "/")
    return found if is_plain and is_below else below


def _without(attributes: list[str], *names: str) -> list[str]:
    return [
        attribute
        for attribute in attributes
        if attribute.partition("=")[0].strip().lower() not in names
    ]


def _joined(pair: str, attributes: list[str]) -> str:
    return ";".join([pair, *attributes])
