"""The dispatcher as an ordinary Django view, for `runserver` and Django's test client.

The gateway does the same on the event loop; this is for development and tests. The
path arrives decoded, so `%2F` in it looks like `/`, the route table is read from the
database at every request, and functions are at `/<namespace>/<path>` only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from urllib.parse import quote

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from runtime import function_headers, http_request, routes
from runtime.errors import InvocationError, NoRoute, Unavailable
from runtime.http_request import Headers, Target
from runtime.invoke import Answer, Request, invoke
from runtime.limits import Limits
from runtime.models import Gateway, Installation
from runtime.origin import forwardable, origin_of
from runtime.problem import Problem
from runtime.record import row, write
from runtime.route import Route

_limits = Limits(
    settings.ZERVERLESS_CONCURRENCY, settings.ZERVERLESS_FUNCTION_CONCURRENCY
)


# A call from outside has neither our token nor our session, and needs neither.
@csrf_exempt
@login_not_required
def function_view(request: HttpRequest, namespace: str, path: str = "") -> HttpResponse:
    """Run the function at `/<namespace>/<path>`."""
    invocation_id = http_request.new_id()
    headers: Headers = [(k.lower(), v) for k, v in request.headers.items()]
    request_id = http_request.request_id(
        [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers], invocation_id
    )
    try:
        response = _serve(request, headers, invocation_id, request_id)
    except InvocationError as error:
        response = _problem(error, request_id, request.headers)
    response["X-Request-Id"] = request_id
    return response


def _serve(
    request: HttpRequest, headers: Headers, invocation_id: str, request_id: str
) -> HttpResponse:
    target = http_request.read_target(
        quote(request.path, safe="/~!$&'()*+,;=:@").encode(),
        request.META.get("QUERY_STRING", "").encode(),
    )
    method = request.method or "GET"
    http_request.check_method(method)
    found = routes.load().find(target.segments)
    if found is None:
        raise NoRoute("No function answers at this path.")
    route, depth = found
    http_request.check_method(method, route.config.methods)
    if route.is_server:
        raise Unavailable("Server functions answer through the gateway only.")
    call = Request(
        id=invocation_id,
        method=method,
        raw_path=target.raw_path,
        sub_path=target.below(depth),
        query=target.query,
        headers=_forwarded(request, headers, target, depth, request_id),
        body=_body(request, headers),
        client=request.META.get("REMOTE_ADDR", ""),
        scheme=request.scheme or "http",
        host=request.get_host(),
    )
    return _run(route, call, request.headers)


def _forwarded(
    request: HttpRequest, headers: Headers, target: Target, depth: int, request_id: str
) -> Headers:
    peer = request.META.get("REMOTE_ADDR", "")
    origin = origin_of(headers, peer, request.scheme or "http")
    prefix = "/" + "/".join(target.segments[:depth])
    forwarded = forwardable(headers, origin, request_id)
    return [*forwarded, ("x-forwarded-prefix", prefix)]


def _body(request: HttpRequest, headers: Headers) -> bytes:
    http_request.body_length(headers)
    # Not request.body: that has the dashboard's own, smaller limit.
    body = request.read(settings.ZERVERLESS_MAX_BODY + 1)
    if len(body) > settings.ZERVERLESS_MAX_BODY:
        raise http_request.body_too_large()
    return body


def _run(route: Route, call: Request, asked: Mapping[str, str]) -> HttpResponse:
    began, started = timezone.now(), time.perf_counter()
    with _limits.slot(route.function_id, route.config.concurrency):
        answer = invoke(route, call, _owner())
    write([row(route, call, answer, began, (time.perf_counter() - started) * 1000)])
    if answer.error is None:
        return _response(route, call, answer)
    request_id = http_request.first(call.headers, "x-request-id")
    response = _problem(answer.error, request_id, asked)
    for name, value in function_headers.identify(route):
        response[name] = value
    return response


def _owner() -> str:
    """Cleanup removes containers whose gateway gave no sign of life: give one."""
    name = f"view{os.getpid()}"
    Gateway.objects.update_or_create(
        pk=name, defaults={"pid": os.getpid(), "heartbeat_at": timezone.now()}
    )
    return f"{Installation.current().name}-{name}"


def _response(route: Route, call: Request, answer: Answer) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status)
    del response["Content-Type"]
    for name, value in function_headers.for_answer(route, call, answer, 0.0):
        if name == "set-cookie":
            response.cookies.load(value)
        elif response.has_header(name):
            response[name] = f"{response[name]}, {value}"
        else:
            response[name] = value
    return response


def _problem(
    error: InvocationError, request_id: str, asked: Mapping[str, str]
) -> HttpResponse:
    problem = Problem.of(error)
    headers, body = problem.render(request_id, asked.get("Accept", ""))
    return HttpResponse(body, status=problem.status, headers=dict(headers))
