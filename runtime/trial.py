"""Tries a deployment before it takes traffic: an instance gets ready, its checks pass.

Runs in the worker that has made the image, under the lease of that build. The trying is
done on a thread of its own: the worker's thread, the only one that uses the database,
meanwhile writes the log, shows that we live and looks for what ends a trial early.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from django.conf import settings

from applications.errors import ZerverlessError
from applications.spec import Check, FunctionSpec
from builds.errors import BuildCancelled, BuildError
from builds.log import Writer
from builds.make import Watch
from builds.models import Build
from runtime import checks, deploy, routes
from runtime.checks import Got
from runtime.presence import Presence, present
from runtime.route import Route

START, CHECK = "Start", "Check"
_LOOK = 0.1  # seconds between two looks for what ends it early


class TrialFailed(BuildError):
    """What would go live does not do what it should: the user can fix it."""

    code = "trial:failed"


class Stopped(Exception):
    """The trial was told to end."""


def run(build: Build, watch: Watch, log: Writer) -> None:
    """Return when what `build` would put live may go live.

    Its `image_id` and `port` are what its row will say. Raises TrialFailed,
    BuildCancelled, and a PlatformError where another attempt may do better.
    """
    spec = FunctionSpec.from_dict(build.spec)
    with present() as presence, ThreadPoolExecutor(1, "trial") as thread:
        trial = Trial(_route(build), spec.checks, presence.owner)
        future = thread.submit(trial.run)
        try:
            _attend(trial, future, presence, watch, log)
        finally:
            trial.stop.set()


def _route(build: Build) -> Route:
    """As the gateway will see it. No deployment has the number 0."""
    return Route(
        function_id=build.function_id,
        deployment_id=0,
        number=deploy.next_number(build.function),
        namespace=build.function.namespace,
        path=build.function.path,
        image_id=build.image_id,
        commit=build.revision.sha,
        config=routes.config_of(deploy.config_of(build)),
    )


def _attend(
    trial: Trial, future: Future[None], presence: Presence, watch: Watch, log: Writer
) -> None:
    ended_by: ZerverlessError | None = None
    while not future.done():
        wait([future], _LOOK)
        presence.beat()
        trial.tell(log)
        if ended_by is None:
            ended_by = _ending(trial, watch)
            if ended_by is not None:
                trial.stop.set()
    trial.tell(log)
    if ended_by is not None:
        raise ended_by
    future.result()


def _ending(trial: Trial, watch: Watch) -> ZerverlessError | None:
    """Why the trial must end now, if it must."""
    if watch.stop():
        return BuildCancelled("The trial was cancelled.")
    if time.monotonic() < watch.until:
        return None
    return TrialFailed(
        f"Building and trying it took longer than {settings.DOCKER_BUILD_TIMEOUT} "
        f"seconds (DOCKER_BUILD_TIMEOUT).",
        "trial:timeout",
        trial.step,
    )


@dataclass
class Trial:
    """One attempt, on a thread of its own; `said` is what the log will say."""

    route: Route
    checks: tuple[Check, ...]
    owner: str
    stop: threading.Event = field(default_factory=threading.Event)
    said: SimpleQueue[str] = field(default_factory=SimpleQueue)
    step: str = ""
    _since: float = 0.0

    def run(self) -> None:
        """Try it; raises TrialFailed, Stopped and PlatformError."""
        if not self.route.is_server:
            self._begin(CHECK)
            for number, check in enumerate(self.checks):
                got = checks.run(self.route, check, self.owner, self.stop)
                self._judge(number, check, got)
            self._end()

    def tell(self, log: Writer) -> None:
        """Write what was said since the last time."""
        try:
            while True:
                log.add(self.said.get_nowait())
        except Empty:
            return

    def _begin(self, step: str) -> None:
        self.step, self._since = step, time.perf_counter()
        self.said.put(f"==> {step}")

    def _end(self) -> None:
        self.said.put(f"<== {time.perf_counter() - self._since:.2f} s")

    def _judge(self, number: int, check: Check, got: Got) -> None:
        if self.stop.is_set():
            raise Stopped
        self.said.put(f"{check}: {got}")
        problem = checks.problem_of(check, got)
        if problem:
            raise self._failure(f"checks[{number}], {check}: {problem}.", "trial:check")

    def _failure(self, message: str, code: str) -> TrialFailed:
        self.said.put("<== failed")
        return TrialFailed(message, code, self.step)
