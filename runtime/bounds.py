"""How far an answer of a function may reach into the host name it comes from. Pure.

The same for both kinds of functions: `answer.py` and `function_headers.py` ask here for
those that run once per request, `answer_lines.py` for servers.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from runtime import challenges, cookies, media_type
from runtime.route import Route

# Takes the origin away from the page, and with it the dashboard's: functions are
# untrusted and share the host. allow-same-origin must never be in here.
SANDBOX = "sandbox allow-scripts allow-forms allow-popups"
NOSNIFF = "nosniff"
# With these a browser changes what it has stored: a page from before would lose its
# policy by an answer that needs none.
_MERGED = frozenset({206, 304})


@dataclass(frozen=True, slots=True)
class Bounds:
    """`below`: the function's path on a host that namespaces share, None on one of its
    own. `path` is that of the request."""

    below: str | None
    is_sandboxed: bool
    path: str = ""

    def refusal(self, kinds: list[str], set_cookies: list[str]) -> str:
        """Why an answer cannot be passed on, or an empty string."""
        if self.is_sandboxed:
            if len(kinds) > 1:
                return "it has several Content-Types, and browsers choose differently"
            if kinds and not media_type.is_media_type(kinds[0]):
                return (
                    f"its Content-Type {kinds[0][:60]!a} is not one media type, "
                    "such as text/html; charset=utf-8"
                )
        return cookies.problem_of(set_cookies) if self.below else ""

    def passed(self, name: str, value: str) -> str | None:
        """A header's value as it is sent; None where it is not."""
        if name == "set-cookie":
            return cookies.settable(value, self.below)
        if name == "www-authenticate" and self.below:
            return challenges.own(value, self.below, self.path)
        return value

    def confines(self, kinds: list[str], status: int, method: str) -> bool:
        """Whether an answer gets the sandbox policy."""
        if not self.is_sandboxed:
            return False
        is_inert = bool(kinds) and media_type.is_inert(kinds[0])
        return not is_inert or status in _MERGED or method == "HEAD"


def prefix_of(route: Route, *, own_host: bool = False) -> str:
    """The path of a function on its host: `/alice/api`, on its own host `/api`."""
    path = "" if route.path == "/" else route.path
    return path if own_host else f"/{route.namespace}{path}"


def bounds_of(route: Route, path: str, *, own_host: bool = False) -> Bounds:
    """What holds for a function's answer to a request for this path."""
    if own_host:
        return Bounds(None, is_sandboxed=False)
    is_apart = bool(settings.ZERVERLESS_FUNCTIONS_HOST)
    return Bounds(
        prefix_of(route),
        is_sandboxed=settings.ZERVERLESS_FUNCTIONS_SANDBOX and not is_apart,
        path=path,
    )
