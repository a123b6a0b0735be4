"""The headers every answer of a function carries, on either way to it."""

from __future__ import annotations

from runtime.bounds import NOSNIFF, SANDBOX, bounds_of
from runtime.invoke import Answer, Request
from runtime.route import Route

Headers = list[tuple[str, str]]

_COLD = ("create", "attach", "start")


def identify(route: Route) -> Headers:
    """Whose answer it is, also where it is a platform error."""
    return [
        ("x-zerverless-function", f"{route.namespace}{route.path}"),
        ("x-zerverless-revision", f"v{route.number}"),
    ]


def for_answer(
    route: Route, request: Request, answer: Answer, queue_ms: float
) -> Headers:
    """All headers of a function's own answer. `queue_ms`: before it was started."""
    bounds = bounds_of(route, request.raw_path, own_host=request.own_host)
    replaced = {"content-length"}
    if bounds.is_sandboxed or "x-content-type-options" not in dict(answer.headers):
        replaced.add("x-content-type-options")
    headers = [item for item in answer.headers if item[0] not in replaced]
    if answer.status not in {204, 304}:
        headers.append(("content-length", str(len(answer.body))))
    if "x-content-type-options" in replaced:
        headers.append(("x-content-type-options", NOSNIFF))
    kinds = [value for name, value in headers if name == "content-type"]
    if bounds.confines(kinds, answer.status, request.method):
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
