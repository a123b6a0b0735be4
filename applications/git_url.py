"""Which repository URLs are accepted, decided before git sees them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from django.conf import settings

from applications import git_allow
from applications.errors import GitAddressError

URL_MAX = 500
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[1-9][0-9]{0,4})?")
_UNUSUAL = (
    "Write the host as a plain name or address: git.example.org, 192.0.2.1 or "
    "[2001:db8::1], without a final dot, and :PORT behind it or not."
)
_SCP = re.compile(r"\A[^/:]+:(?!//)")  # git@host:path


def check_url(url: str) -> None:
    """Refuse what is not the plain address of a repository; raises GitAddressError."""
    problem = _url_problem(url)
    if problem:
        raise GitAddressError(problem, "git:url")


def _url_problem(url: str) -> str:
    if not url or len(url) > URL_MAX:
        return f"A repository URL has 1 to {URL_MAX} characters."
    if not url.isprintable() or any(c.isspace() for c in url) or "\\" in url:
        return "A repository URL has no spaces, backslashes or control characters."
    allowed = settings.ZERVERLESS_GIT_PROTOCOLS
    offer = ", ".join(f"{name}://" for name in allowed)
    if url.startswith("/"):
        return "" if "file" in allowed else f"Local paths are not allowed: use {offer}."
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme == "ssh" or (not scheme and _SCP.match(url)):
        return f"Git over ssh is not supported yet: use {offer}."
    if not scheme:
        return f"A repository URL begins with {offer}."
    if scheme not in allowed:
        return f'"{scheme[:20]}://" is not allowed here: use {offer}.'
    return _file_problem(url) if scheme == "file" else _host_problem(url)


def _file_problem(url: str) -> str:
    plain = url.startswith("file:///")
    return "" if plain else "A file URL names no host: write file:///path."


def _host_problem(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "The host or the port of the URL cannot be read."
    if "@" in parts.netloc:
        return (
            "The URL must not hold a user name, password or token: it would be stored "
            "and shown in clear."
        )
    if "?" in url or "#" in url:
        return (
            "The URL must not hold a query or a fragment: tokens in it would be "
            "stored and shown in clear."
        )
    if not host or host.startswith("-") or not url.isascii():
        return "The URL names no host, or not in plain ASCII."
    return "" if _HOST.fullmatch(parts.netloc) and _is_plain(host) else _UNUSUAL


def _is_plain(host: str) -> bool:
    """A name, or an address in its usual form: curl reads a dozen others."""
    return git_allow.is_name(host) or git_allow.literal(host) is not None
