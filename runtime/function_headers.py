"""The headers every answer of a function carries, on either way to it."""

from __future__ import annotations

from django.conf import settings

from runtime.invoke import Answer
from runtime.route import Route

Headers = list[tuple[str, str]]

# Takes the origin away from the page, and with it the dashboard's: functions are
# untrusted and share the host. allow-same-origin must never be in here.
SANDBOX = "sandbox allow-scripts allow-forms allow-popups"
# What a browser renders as a document that can run script. A missing type counts, and
# multipart/x-mixed-replace, whose parts are documents.
_ACTIVE = ("text/html", "application/xhtml", "image/svg", "multipart/")
_COLD = ("create", "attach", "start")


def identify(route: Route) -> Headers:
    """Whose answer it is, also where it is a platform error."""
    return [
        ("x-zerverless-function", f"{route.namespace}{route.path}"),
        ("x-zerverless-revision", f"v{route.number}"),
    ]


def for_answer(route: Route, answer: Answer, queue_ms: float) -> Headers:
    """All headers of a function's own answer. `queue_ms`: before it was started."""
    headers = [item for item in answer.headers if item[0] != "content-length"]
    if answer.status not in {204, 304}:
        headers.append(("content-length", str(len(answer.body))))
    if not any(name == "x-content-type-options" for name, _ in headers):
        headers.append(("x-content-type-options", "nosniff"))
    if shares_host() and is_active(headers):
        # In addition to the function's own policy: browsers enforce every one.
        headers.append(("content-security-policy", SANDBOX))
    return [*headers, *identify(route), timing(answer, queue_ms)]


def timing(answer: Answer, queue_ms: float) -> tuple[str, str]:
    """Server-Timing in milliseconds: waiting, making the container, the function."""
    phases = answer.record.phases
    cold = cold_ms(answer)
    run = phases.get("run", 0.0)
    value = f"queue;dur={queue_ms:.1f}, cold;dur={cold:.1f}, fn;dur={run:.1f}"
    return "server-timing", value


def cold_ms(answer: Answer) -> float:
    """Milliseconds until the container ran."""
    return sum(answer.record.phases.get(name, 0.0) for name in _COLD)


def shares_host() -> bool:
    """Whether functions live on the dashboard's host and need the sandbox."""
    sandbox: bool = settings.ZERVERLESS_FUNCTIONS_SANDBOX
    return sandbox and not settings.ZERVERLESS_FUNCTIONS_HOST


def is_active(headers: Headers) -> bool:
    types = [value.strip().lower() for name, value in headers if name == "content-type"]
    return not types or any(
        kind.startswith(_ACTIVE) or "xml" in kind or "/" not in kind for kind in types
    )
