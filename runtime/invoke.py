"""One request, from the route it matched to the answer. Blocking: runs in a thread."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from django.conf import settings

from runtime import command, container, primed, recipe
from runtime.answer import read_reply
from runtime.bounds import bounds_of, prefix_of
from runtime.environment import request_environment
from runtime.errors import (
    ContainerEngineError,
    ContainerRefused,
    InvocationError,
    Unavailable,
)
from runtime.failure import clean_log, error_of
from runtime.primed import Launcher, NeverStarted, Primed
from runtime.route import Route

logger = logging.getLogger(__name__)
Cancelled = Callable[[], bool] | threading.Event | None


@dataclass(frozen=True)
class Request:
    """A request the gateway has checked: sizes, path, header syntax.

    `raw_path` is as received without the query, `sub_path` the decoded rest below the
    function's path ("" or "/x/y"), header names are lower-case. `own_host`: it came to
    the host name of the function's namespace alone.
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
    own_host: bool = False


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


class Stock(Protocol):
    """Where primed containers come from: runtime.pool.Pool, or nowhere."""

    def take(self, route: Route) -> Primed | None:
        """A primed container of exactly this deployment, if there is one."""

    def make(self, route: Route) -> Primed | None:
        """One made for this request, where none is ready; None if none can be made."""

    def drop(self, route: Route) -> None:
        """One of this deployment's was found dead."""


def invoke(
    route: Route,
    request: Request,
    owner: str,
    cancelled: Cancelled = None,
    stock: Stock | None = None,
) -> Answer:
    """Run the function once for this request and return its answer, or the error's.

    `owner` is `<installation>-<gateway>`. Nothing is raised: what went wrong is in
    `answer.error`.
    """
    started = time.perf_counter()
    record = Record()
    answer: Answer | None = None
    try:
        answer = _run(route, request, owner, _as_callable(cancelled), record, stock)
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
    stock: Stock | None,
) -> Answer:
    variables = _variables(route, request)
    image = recipe.runnable(route.image_id)
    outcome = _run_primed(route, request, variables, cancelled, stock)
    if outcome is None:
        environment = {**recipe.own(route), **variables}
        outcome = container.run_once(
            recipe.name(owner, request.id),
            recipe.config(route, image, environment, reads_body=bool(request.body)),
            body=request.body,
            timeout=route.config.timeout,
            max_output=settings.ZERVERLESS_MAX_BODY,
            cancelled=cancelled,
        )
    record.phases, record.exit_code = outcome.phases, outcome.exit_code
    record.oom, record.stderr = outcome.oom, clean_log(outcome)
    error = error_of(
        outcome,
        route.config.timeout,
        route.config.memory,
        image.user,
        lambda: command.problem(image, recipe.name(owner, f"look{request.id}")),
    )
    if error is not None:
        raise error
    reply = read_reply(
        outcome.stdout,
        route.config.response,
        route.config.content_type,
        bounds_of(route, request.raw_path, own_host=request.own_host),
    )
    return Answer(reply.status, reply.headers, reply.body, None, record)


def _run_primed(
    route: Route,
    request: Request,
    variables: dict[str, str],
    cancelled: Callable[[], bool],
    stock: Stock | None,
) -> container.Outcome | None:
    """How it ended in a container with our launcher; None when there was none.

    Also where none was ready: of a program with a launcher the end is known 20 ms
    before the engine has closed its streams.
    """
    if stock is None:
        return None
    waited: dict[str, float] = {}
    ready = stock.take(route)
    if ready is None and (ready := stock.make(route)) is not None:
        waited = ready.phases
    if ready is None:
        return None
    try:
        outcome = primed.run(
            ready,
            variables,
            body=request.body,
            timeout=route.config.timeout,
            max_output=settings.ZERVERLESS_MAX_BODY,
            cancelled=cancelled,
        )
    except NeverStarted:
        logger.warning("a primed container of %s was gone", route.path)
        stock.drop(route)
        return None
    outcome.phases = waited | outcome.phases
    return outcome


def prime(route: Route, owner: str, launcher: Launcher) -> Primed:
    """Start a container of this deployment ahead; raises as `invoke` would answer."""
    image = recipe.runnable(route.image_id)
    config = recipe.config(route, image, recipe.own(route), reads_body=True)
    name = recipe.name(owner, f"primed{secrets.token_hex(8)}")
    return primed.prime(name, launcher.wrap(config, image.command))


def _variables(route: Route, request: Request) -> dict[str, str]:
    """What this request adds to the environment."""
    variables = request_environment(
        method=request.method,
        uri=request.raw_path,
        script_name=prefix_of(route, own_host=request.own_host),
        path_info=request.sub_path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        client=request.client,
        scheme=request.scheme,
        host=request.host,
        http_version=request.http_version,
    )
    deadline = int((time.time() + route.config.timeout) * 1000)
    return {
        **variables,
        "ZERVERLESS_NAMESPACE": route.namespace,
        "ZERVERLESS_FUNCTION": route.path,
        "ZERVERLESS_DEPLOYMENT": str(route.number),
        "ZERVERLESS_COMMIT": route.commit,
        "ZERVERLESS_INVOCATION_ID": request.id,
        "ZERVERLESS_DEADLINE": str(deadline),
    }
