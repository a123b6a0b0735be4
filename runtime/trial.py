"""Tries a deployment before it takes traffic: an instance gets ready, its checks pass.

Runs in the worker that has made the image, under the lease of that build. The trying is
done on a thread of its own: the worker's thread, the only one that uses the database,
meanwhile writes the log, shows that we live and looks for what ends a trial early.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from django.conf import settings

from applications.errors import ZerverlessError
from applications.spec import Check, FunctionSpec
from builds.errors import BuildCancelled, BuildError
from builds.failure import REASON_LINES
from builds.lines import quoted, telling
from builds.log import Writer
from builds.make import Watch
from builds.models import Build
from runtime import checks, deploy, engine, failure, routes, threads
from runtime.checks import Got
from runtime.errors import ContainerEngineError, FunctionFailed, Unavailable
from runtime.instance import Instance
from runtime.presence import Presence, present
from runtime.route import Route
from runtime.starter import Starter

START, CHECK = "Start", "Check"
_LOOK = 0.1  # seconds between two looks for what ends it early
_LINES = 50  # of what a function said, in the log of its build
_GRACE = 1.0  # seconds an instance gets to end: nobody waits for an answer of it
_NEWS = 0.5  # seconds within which we hear of its end
_STAYS = 1.0  # seconds it has to live on behind its open port
_T = TypeVar("_T")


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
        try:
            if self.route.is_server:
                asyncio.run(self._as_server())
            else:
                self._run_once_each()
        except TrialFailed:
            self.said.put("<== failed")
            raise

    def tell(self, log: Writer) -> None:
        """Write what was said since the last time."""
        try:
            while True:
                log.add(self.said.get_nowait())
        except Empty:
            return

    def _run_once_each(self) -> None:
        self._begin(CHECK)
        for number, check in enumerate(self.checks):
            got = checks.run(self.route, check, self.owner, self.stop)
            if self.stop.is_set():
                raise Stopped
            self._judge(number, check, got)
        self._end()

    async def _as_server(self) -> None:
        self._begin(START)
        async with Starter(self.owner, ahead=0) as starter:
            instance = await self._until_stopped(self._start(starter))
            try:
                await self._until_stopped(self._prove(instance))
            finally:
                await instance.stop(_GRACE)

    async def _until_stopped(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What it returns; Stopped, after it was cancelled, when we are told to end."""
        working = asyncio.create_task(work)
        while not (working.done() or self.stop.is_set()):
            await asyncio.wait([working], timeout=_LOOK)
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
        if working.cancelled():
            raise Stopped
        return working.result()

    async def _start(self, starter: Starter) -> Instance:
        try:
            instance = await starter.start(self.route)
        except Unavailable as error:  # its image was removed behind our back
            raise ContainerEngineError(error.message) from error
        except FunctionFailed as error:
            said = self._quote(error.reason)
            words = quoted(telling(said, REASON_LINES))
            last = f" It said: {words}" if words else ""
            hint = failure.elsewhere(error.reason, self.route.config.port)
            message = f"{error.message}{hint}{last}"
            raise TrialFailed(message, "trial:start", START) from error
        self.said.put(f"It listens on port {self.route.config.port}.")
        return instance

    async def _prove(self, instance: Instance) -> None:
        """An open port is no server yet: it answers, and it stays."""
        opened = time.monotonic()
        try:
            if self.checks:
                self._end()
                self._begin(CHECK)
                for number, check in enumerate(self.checks):
                    self._judge(number, check, await self._ask(instance, check))
            else:
                self._hear(await self._ask(instance, checks.ANY))
            left = max(opened + _STAYS - time.monotonic(), _NEWS)
            if why := await instance.why_ended(left):
                message = f"It answered, but then: {why.message}"
                raise TrialFailed(message, "trial:start", self.step)
        except TrialFailed:
            said = await threads.run(engine.logs, instance.name, _LINES, times=False)
            self._quote(failure.clean(said))
            raise
        self._end()

    async def _ask(self, instance: Instance, check: Check) -> Got:
        seconds = self.route.config.timeout
        got = await checks.ask(instance.connect, self.route, check, seconds)
        if not got.status and (why := await instance.why_ended(_NEWS)):
            got.problem += f". {why.message.rstrip('.')}"
        return got

    def _hear(self, got: Got) -> None:
        """Take any answer to `GET /`, but not none."""
        self.said.put(f"{checks.ANY}: {got}")
        if not got.status:
            message = (
                f"It listens on port {self.route.config.port}, but gave no answer to "
                f"GET /: {got.problem}. If it answers elsewhere, name that path in the "
                "manifest's checks."
            )
            raise TrialFailed(message, "trial:start", START)

    def _begin(self, step: str) -> None:
        self.step, self._since = step, time.perf_counter()
        self.said.put(f"==> {step}")

    def _end(self) -> None:
        self.said.put(f"<== {time.perf_counter() - self._since:.2f} s")

    def _judge(self, number: int, check: Check, got: Got) -> None:
        self.said.put(f"{check}: {got}")
        problem = checks.problem_of(check, got)
        if problem:
            message = f"checks[{number}], {check}: {problem}."
            raise TrialFailed(message, "trial:check", CHECK)

    def _quote(self, text: str) -> list[str]:
        """Put what the function said last into the log; its lines."""
        lines = [line for line in text.splitlines() if line.strip()][-_LINES:]
        for line in lines:
            self.said.put(f"| {line}")
        return lines
