"""One request, from the route it matched to the answer. Blocking: runs in a thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from runtime import engine, sandbox
from runtime.answer import read_reply
from runtime.environment import is_reserved, request_environment
from runtime.errors import (
    ContainerEngineError,
    ContainerRefused,
    FunctionFailed,
    InvocationError,
    Unavailable,
)
from runtime.failure import clean_log, error_of

logger = logging.getLogger(__name__)
Cancelled = Callable[[], bool] | threading.Event | None


@dataclass(frozen=True)
class RouteConfig:
    """The manifest's keys that one request depends on. Seconds and bytes."""

    response: str = "raw"
    content_type: str = ""
    timeout: float = 30
    memory: int = 256 << 20
    cpu: float = 0.5
    concurrency: int | None = None
    methods: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """A live deployment as the gateway holds it in memory."""

    function_id: int
    deployment_id: int
    number: int
    namespace: str
    path: str
    image_id: str
    commit: str
    config: RouteConfig = field(default_factory=RouteConfig)


@dataclass(frozen=True)
class Request:
    """A request the gateway has checked: sizes, path, header syntax.

    `raw_path` is as received without the query, `sub_path` the decoded rest below the
    function's path ("" or "/x/y"), header names are lower-case.
    """

    id: str
    method: str
    raw_path: str
    sub_path: str = ""
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    client: str = ""
    scheme: str = "http"
    host: str = ""
    http_version: str = "1.1"


@dataclass
class Record:
    """What is worth keeping about a run; `phases` in milliseconds."""

    phases: dict[str, float] = field(default_factory=dict)
    exit_code: int | None = None
    stderr: str = ""
    oom: bool = False


@dataclass
class Answer:
    """What goes back. With `error` the gateway writes the body of docs/errors.md."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    error: InvocationError | None
    record: Record


def invoke(
    route: Route, request: Request, owner: str, cancelled: Cancelled = None
) -> Answer:
    """Run the function once for this request and return its answer, or the error's.

    `owner` is `<installation>-<gateway>`. Nothing is raised: what went wrong is in
    `answer.error`.
    """
    started = time.perf_counter()
    record = Record()
    answer: Answer | None = None
    try:
        answer = _run(route, request, owner, _as_callable(cancelled), record)
    except InvocationError as error:
        if isinstance(error, ContainerRefused):
            record.stderr = f"docker: {error.reason}"
        answer = Answer(error.status, [], b"", error, record)
    except ContainerEngineError as error:
        # The reason is for the log; the client learns only that it may try again. No
        # traceback: while the engine is away every request comes through here.
        logger.error("request %s: %s", request.id, str(error))
    answer = answer or _unavailable(record)
    record.phases["total"] = round((time.perf_counter() - started) * 1000, 2)
    return answer


def _unavailable(record: Record) -> Answer:
    error = Unavailable("Functions cannot be run right now. Try again soon.")
    return Answer(error.status, [], b"", error, record)


def _as_callable(cancelled: Cancelled) -> Callable[[], bool]:
    if isinstance(cancelled, threading.Event):
        return cancelled.is_set
    return cancelled or (lambda: False)


def _run(
    route: Route,
    request: Request,
    owner: str,
    cancelled: Callable[[], bool],
    record: Record,
) -> Answer:
    environment = _environment(route, request)
    image = _runnable(route.image_id)
    config = _config(route, image, environment, reads_body=bool(request.body))
    installation, _, gateway = owner.partition("-")
    outcome = engine.run_once(
        engine.container_name(installation, gateway, request.id),
        config,
        body=request.body,
        timeout=route.config.timeout,
        max_output=settings.ZERVERLESS_MAX_BODY,
        cancelled=cancelled,
    )
    record.phases, record.exit_code = outcome.phases, outcome.exit_code
    record.oom, record.stderr = outcome.oom, clean_log(outcome)
    error = error_of(outcome, route.config.timeout, route.config.memory, image.user)
    if error is not None:
        raise error
    reply = read_reply(
        outcome.stdout,
        route.config.response,
        route.config.content_type,
        control_cookies(),
    )
    return Answer(reply.status, reply.headers, reply.body, None, record)


def _runnable(image_id: str) -> engine.Image:
    image = engine.image(image_id)
    problem = sandbox.refusal(
        has_command=image.has_command, workdir=image.workdir, volumes=image.volumes
    )
    if problem:
        raise FunctionFailed(problem)
    return image


def _config(
    route: Route,
    image: engine.Image,
    environment: dict[str, str],
    *,
    reads_body: bool,
) -> dict[str, Any]:
    if not image.user and not any(pair.startswith("HOME=") for pair in image.env):
        environment.setdefault("HOME", "/tmp")  # noqa: S108
    return sandbox.container_config(
        route.image_id,
        environment,
        sandbox.Limits(route.config.memory, route.config.cpu),
        user=image.user,
        volumes=image.volumes,
        # A container inherits its image's labels: blank, they say nothing about ours.
        labels={**dict.fromkeys(image.labels, ""), **_labels(route)},
        reads_body=reads_body,
    )


def _labels(route: Route) -> dict[str, str]:
    return {
        "zerverless.function": f"{route.namespace}{route.path}",
        "zerverless.deployment": str(route.deployment_id),
        "zerverless.commit": route.commit,
    }


def _environment(route: Route, request: Request) -> dict[str, str]:
    own = {k: v for k, v in route.config.env.items() if not is_reserved(k)}
    path = "" if route.path == "/" else route.path
    variables = request_environment(
        method=request.method,
        uri=request.raw_path,
        script_name=f"/{route.namespace}{path}",
        path_info=request.sub_path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        client=request.client,
        scheme=request.scheme,
        host=request.host,
        http_version=request.http_version,
        hidden_cookies=control_cookies(),
    )
    deadline = int((time.time() + route.config.timeout) * 1000)
    return {
        **own,
        **variables,
        "ZERVERLESS_NAMESPACE": route.namespace,
        "ZERVERLESS_FUNCTION": route.path,
        "ZERVERLESS_DEPLOYMENT": str(route.number),
        "ZERVERLESS_COMMIT": route.commit,
        "ZERVERLESS_INVOCATION_ID": request.id,
        "ZERVERLESS_DEADLINE": str(deadline),
    }


def control_cookies() -> frozenset[str]:
    """The dashboard's cookies: functions neither get nor set them."""
    return frozenset({settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME})
