"""Runs a request in a container of its own, from create to remove."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from runtime import engine, engine_client, listening, removal
from runtime.errors import ContainerEngineError
from runtime.pump import Pump, Stopped

logger = logging.getLogger(__name__)

# Seconds between SIGTERM and SIGKILL.
_GRACE = 0.5


@dataclass
class Outcome:
    """How one container ended. `exit_code` is None when we killed it."""

    stopped: Stopped
    exit_code: int | None = None
    oom: bool = False
    stdout: bytes = b""
    stderr: bytes = b""
    stderr_cut: bool = False
    listens: tuple[int, ...] = ()  # where it still ran at its time limit
    phases: dict[str, float] = field(default_factory=dict)


def run_once(
    name: str,
    config: dict[str, Any],
    *,
    body: bytes,
    timeout: float,
    max_output: int,
    cancelled: Callable[[], bool],
) -> Outcome:
    """Run one container from create to remove and return how it ended.

    `config` is the body of the Engine API's "create a container"; `timeout` is in
    seconds from the moment the container has started. The container and its volumes
    are removed whatever happens. Raises ImageMissing, ContainerRefused (the image
    cannot be started as it is) and ContainerEngineError.
    """
    phases: dict[str, float] = {}
    with ExitStack() as stack:
        with phase(phases, "create"):
            engine.create(name, config)
        stack.callback(removal.soon, engine.remove, name)
        streams = stack.enter_context(ExitStack())
        with phase(phases, "attach"):
            pump = _attach(streams, name, body, max_output)
        with phase(phases, "start"):
            engine.start(name)
        with phase(phases, "run"):
            outcome = supervise(name, pump, timeout, cancelled)
    outcome.phases = phases
    return outcome


def _attach(streams: ExitStack, name: str, body: bytes, max_output: int) -> Pump:
    """Attach before the start, or a short-lived container's output would be lost."""
    output, feed = open_streams(streams, name, stdin=bool(body))
    return Pump(output, feed, body, max_output)


def open_streams(streams: ExitStack, name: str, *, stdin: bool) -> tuple[Any, Any]:
    """The socket of the outputs and that of the input: one and the same on a unix
    socket, two over TLS, which has no half-close. Both live as long as `streams`."""
    one = settings.DOCKER_HOST.startswith("unix://")
    output = engine.stream(streams, name, stdin=stdin and one, output=True)
    if not stdin:
        return output, None
    if one:
        return output, output
    return output, engine.stream(streams, name, stdin=True, output=False)


def supervise(
    name: str, pump: Pump, timeout: float, cancelled: Callable[[], bool]
) -> Outcome:
    """Move bytes until the program has ended or has to be stopped."""
    with engine_client.our_errors():
        until = time.monotonic() + timeout
        outcome = Outcome(pump.run(until, cancelled))
        if outcome.stopped is Stopped.END:
            _learn_exit(name, pump, outcome, until, cancelled)
        outcome.stdout = pump.stdout
        outcome.stderr, outcome.stderr_cut = pump.stderr, pump.stderr_cut
    if outcome.stopped is Stopped.DEADLINE:
        outcome.listens = listening.ports(name)
    if outcome.stopped is not Stopped.END:
        _stop(name, pump, outcome)
    return outcome


def _learn_exit(
    name: str,
    pump: Pump,
    outcome: Outcome,
    until: float,
    cancelled: Callable[[], bool],
) -> None:
    """Both outputs are closed, so normally it ends now; but it may live on silently."""
    outcome.exit_code = pump.exit_code
    while outcome.exit_code is None:
        left = until - time.monotonic()
        if left <= 0 or cancelled():
            outcome.stopped = Stopped.CANCELLED if cancelled() else Stopped.DEADLINE
            return
        outcome.exit_code = engine.wait(name, min(left, 0.5))
    if outcome.exit_code != 0:
        outcome.oom = engine.was_oom(name, outcome.exit_code)


def _stop(name: str, pump: Pump, outcome: Outcome) -> None:
    """SIGTERM and a short grace where there is time for it.

    SIGKILL comes with the removal, behind the answer and after our end of the streams
    is closed: the engine calls a container dead only when its output has been read,
    and with that end still open it would wait for us.
    """
    if outcome.stopped is not Stopped.DEADLINE:
        return
    try:
        engine.kill(name, "SIGTERM")
        pump.discard_stdout()
        with engine_client.our_errors():
            pump.run(time.monotonic() + _GRACE, lambda: False)
    except ContainerEngineError:
        # How the request ends is decided already; a failing engine does not change it.
        logger.warning("container %s could not be stopped", name, exc_info=True)
    outcome.stderr, outcome.stderr_cut = pump.stderr, pump.stderr_cut


@contextmanager
def phase(phases: dict[str, float], name: str) -> Iterator[None]:
    """Note how many milliseconds the block took."""
    started = time.perf_counter()
    try:
        yield
    finally:
        phases[name] = round((time.perf_counter() - started) * 1000, 2)
