"""Tries a deployment before it takes traffic: an instance gets ready, its checks pass.

Runs in the worker that has made the image, under the lease of that build. The trying is
done on a thread of its own: the worker's thread, the only one that uses the database,
meanwhile writes the log, shows that we live and looks for what ends a trial early.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from django.conf import settings

from applications.errors import ZerverlessError
from applications.spec import Check, FunctionSpec
from builds.errors import BuildCancelled, BuildError
from builds.log import Writer
from builds.make import Watch
from builds.models import Build
from runtime import checks, deploy, engine, failure, routes
from runtime.checks import Got
from runtime.deaths import Deaths
from runtime.doors import Doors
from runtime.errors import FunctionFailed
from runtime.instance import LABEL, Instance
from runtime.presence import Presence, present
from runtime.route import Route
from runtime.sandboxes import Sandboxes

START, CHECK = "Start", "Check"
_LOOK = 0.1  # seconds between two looks for what ends it early
_LINES = 50  # of what a function said, in the log of its build


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
        if self.route.is_server:
            asyncio.run(self._until_stopped(self._as_server()))
            return
        self._begin(CHECK)
        for number, check in enumerate(self.checks):
            got = checks.run(self.route, check, self.owner, self.stop)
            self._judge(number, check, got)
        self._end()

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        trying = asyncio.create_task(work)
        while not trying.done():
            await asyncio.wait([trying], timeout=_LOOK)
            if self.stop.is_set():
                trying.cancel()
                await asyncio.wait([trying])
                raise Stopped
        trying.result()

    async def _as_server(self) -> None:
        self._begin(START)
        async with _launching(self.owner) as launch:
            try:
                instance = await launch(self.route)
            except FunctionFailed as error:
                raise self._not_started(error) from error
            try:
                self.said.put(f"It listens on port {self.route.config.port}.")
                self._end()
                await self._check_server(instance)
            finally:
                await instance.stop()

    async def _check_server(self, instance: Instance) -> None:
        if self.checks:
            self._begin(CHECK)
        try:
            for number, check in enumerate(self.checks):
                seconds = self.route.config.timeout
                got = await checks.ask(instance.connect, self.route, check, seconds)
                self._judge(number, check, got)
        except TrialFailed:
            said = await asyncio.to_thread(engine.logs, instance.name, _LINES)
            self._quote(said.decode("utf-8", "replace"))
            raise
        if self.checks:
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
            self.said.put("<== failed")
            message = f"checks[{number}], {check}: {problem}."
            raise TrialFailed(message, "trial:check", CHECK)

    def _not_started(self, error: FunctionFailed) -> TrialFailed:
        said = self._quote(error.reason)
        self.said.put("<== failed")
        hint = failure.explain_start(error.reason, self.route.config.port)
        last = f" It said: {' / '.join(said[-3:])}" if said else " It said nothing."
        return TrialFailed(f"{error.message}{hint}{last}", "trial:start", START)

    def _quote(self, text: str) -> list[str]:
        """Put what the function said into the log; its lines."""
        lines = [line for line in text.splitlines() if line.strip()][-_LINES:]
        for line in lines:
            self.said.put(f"| {line}")
        return lines


@asynccontextmanager
async def _launching(
    owner: str,
) -> AsyncIterator[Callable[[Route], Coroutine[Any, Any, Instance]]]:
    """What starts an instance, for as long as it is needed here."""
    doors = Doors(settings.RUN_DIR / f"trial-{owner.rpartition('-')[2]}")
    sandboxes = Sandboxes(owner, doors, 0)
    deaths = Deaths(f"{LABEL}={owner}")
    doors.start()
    try:
        yield lambda route: Instance.start(route, owner, sandboxes, deaths)
    finally:
        await sandboxes.stop()
        deaths.stop()
        doors.stop()
