"""One request, from the route it matched to the answer. Blocking: runs in a thread."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings

from runtime import engine, sandbox
from runtime.answer import read_reply
from runtime.environment import is_reserved, request_environment
from runtime.errors import (
    AnswerTooLarge,
    ContainerEngineError,
    FunctionFailed,
    FunctionTimeout,
    InvocationError,
    OutOfMemory,
    Unavailable,
)
from runtime.pump import Stopped

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


class Abandoned(InvocationError):
    """The client went away; nobody reads this answer (499 as nginx logs it)."""

    code, status, title = "ZV499", 499, "The client closed the connection"


def invoke(
    route: Route, request: Request, owner: str, cancelled: Cancelled = None
) -> Answer:
    """Run the function once for this request and return its answer, or the error's.

    `owner` is `<installation>-<gateway>`: it becomes part of the container's name.
    """
    started = time.perf_counter()
    record = Record()
    try:
        answer = _run(route, request, owner, _as_callable(cancelled), record)
    except InvocationError as error:
        answer = Answer(error.status, [], b"", error, record)
    except ContainerEngineError as error:
        # The reason is for the log; the client learns only that it may try again. No
        # traceback: while the engine is away every request comes through here.
        logger.error("request %s: %s", request.id, error)
        unavailable = Unavailable("Functions cannot be run right now. Try again soon.")
        answer = Answer(unavailable.status, [], b"", unavailable, record)
    record.phases["total"] = round((time.perf_counter() - started) * 1000, 2)
    return answer


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
    config = _config(route, environment, reads_body=bool(request.body))
    outcome = engine.run_once(
        f"zerverless-{owner}-{request.id}",
        config,
        body=request.body,
        timeout=route.config.timeout,
        max_output=settings.ZERVERLESS_MAX_BODY,
        cancelled=cancelled,
    )
    record.phases, record.exit_code = outcome.phases, outcome.exit_code
    record.oom, record.stderr = outcome.oom, clean_log(outcome)
    _raise_for(outcome, route.config)
    reply = read_reply(
        outcome.stdout,
        route.config.response,
        route.config.content_type,
        control_cookies(),
    )
    return Answer(reply.status, reply.headers, reply.body, None, record)


def _config(
    route: Route, environment: dict[str, str], *, reads_body: bool
) -> dict[str, object]:
    image = engine.image(route.image_id)
    problem = sandbox.refusal(
        has_command=image.has_command, workdir=image.workdir, volumes=image.volumes
    )
    if problem:
        raise FunctionFailed(problem)
    if not image.user and not any(e.startswith("HOME=") for e in image.env):
        environment.setdefault("HOME", "/tmp")  # noqa: S108
    return sandbox.container_config(
        route.image_id,
        environment,
        sandbox.Limits(route.config.memory, route.config.cpu),
        user=image.user,
        volumes=image.volumes,
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


def _raise_for(outcome: engine.Outcome, config: RouteConfig) -> None:
    if outcome.stopped is Stopped.DEADLINE:
        raise FunctionTimeout(f"The function did not end within {config.timeout:g} s.")
    if outcome.stopped is Stopped.TOO_LARGE:
        limit = settings.ZERVERLESS_MAX_BODY / sandbox.MEBIBYTE
        raise AnswerTooLarge(f"The function wrote more than {limit:g} MiB.")
    if outcome.stopped is Stopped.CANCELLED:
        raise Abandoned("The client closed the connection; the function was stopped.")
    if outcome.oom:
        limit = config.memory / sandbox.MEBIBYTE
        raise OutOfMemory(
            f"The function used more than its {limit:g} MiB of memory. "
            "Raise `memory` in the manifest."
        )
    if outcome.exit_code != 0:
        raise FunctionFailed(explain(outcome.exit_code, outcome.stderr))


_EXITS = {
    126: "its command cannot be executed",
    127: "its command was not found",
    137: "it was killed (SIGKILL)",
    139: "it crashed (SIGSEGV)",
    153: f"it wrote a file larger than {sandbox.FILE_SIZE // sandbox.MEBIBYTE} MiB",
}
# What a program says when a limit of ours stops it, and what to do about it.
_HINTS = (
    (b"exec format error", "the command is not a program for this machine"),
    (b"read-only file system", "only /tmp is writable"),
    (b"no space left on device", f"{sandbox.SPACE} is all there is to write to"),
    (b"permission denied", "without USER in its Dockerfile a function is nobody"),
    (b"network is unreachable", "a function has no network"),
    (b"resource temporarily unavailable", f"{sandbox.PIDS} processes are the limit"),
)


def explain(exit_code: int | None, stderr: bytes) -> str:
    """Why a function ended with an error, in a sentence with a hint where there is."""
    reason = _EXITS.get(exit_code or 0, "")
    lower = stderr.lower()
    hint = next((text for mark, text in _HINTS if mark in lower), "")
    detail = "; ".join(part for part in (reason, hint) if part)
    return f"The function ended with exit code {exit_code}" + (
        f": {detail}." if detail else "."
    )


_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean_log(outcome: engine.Outcome) -> str:
    """The tail of standard error as text that can be stored and shown anywhere."""
    text = outcome.stderr.decode("utf-8", "replace").replace("\r\n", "\n")
    text = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return f"…{text}" if outcome.stderr_cut else text
