"""Keeps the processes of this installation running, and notices one that only looks so.

A django-q2 cluster whose idle worker was killed while it held the queue's lock goes on
logging and never works again. So each cluster is asked through its own queue to write
a beat, and one that does not is restarted, whole process group, without asking nicely
for long: such a cluster ignores SIGTERM too.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from applications.work import Cluster
from zerverless_site import clusters, queue
from zerverless_site.schedules import Clock

ASK_EVERY = timedelta(seconds=10)
STUCK_AFTER = timedelta(seconds=45)
STOP_SECONDS = 15.0
BACKOFF_MAX = 15.0
HEALTHY_SECONDS = 30.0
LOG_MAX = 10 << 20
_PR_SET_PDEATHSIG = 1  # prctl(2)

log = logging.getLogger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Program:
    """One supervised process; `cluster` names the workers it holds, if any."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""
    stale: Path | None = None  # a socket that kill -9 leaves and that blocks a start
    # Sockets it listens on. They are ours, so that connections wait while it is away.
    listening: Sequence[socket.socket] = ()
    nice: int = 0  # how far it steps back for others when processors are short
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def is_due(self) -> bool:
        """Whether it has ended, and is to be started again now."""
        return not self.is_running and time.monotonic() >= self.restart_at


class Supervisor:
    """Starts programs, restarts what ends or hangs, stops all of it together."""

    def __init__(self, programs: Sequence[Program], log_dir: Path | None) -> None:
        self.programs = programs
        self.log_dir = log_dir
        # Whoever supervises workers also gives them their work by the clock.
        has_workers = any(program.cluster for program in programs)
        self.clock = Clock() if has_workers else Clock(())
        self.stopping = False

    def start(self) -> None:
        for program in self.programs:
            if program.cluster:
                Cluster.objects.get_or_create(pk=program.cluster)
            self._spawn(program)

    def watch(self) -> None:
        """Block until asked to stop."""
        while not self.stopping:
            self.watch_once()
            self.pause(1.0)

    def watch_once(self) -> None:
        """Restart what ended or hangs."""
        for program in self.programs:
            self._revive(program)
            if program.cluster and program.is_running:
                self._check(program)
        self.clock.tick()

    def pause(self, seconds: float) -> None:
        """Sleep, but not past a request to stop, nor past the end of a program."""
        deadline = time.monotonic() + seconds
        while not self.stopping and time.monotonic() < deadline:
            if any(program.is_due for program in self.programs):
                return
            time.sleep(0.1)

    def stop(self) -> None:
        """End every process group: SIGTERM, a grace, SIGKILL."""
        self.stopping = True
        for program in self.programs:
            for listening in program.listening:
                listening.close()  # whoever comes now is to be refused
            # The leader alone: a cluster whose workers get the signal too waits for
            # them without end.
            if program.is_running and program.process is not None:
                program.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for program in self.programs:
            if program.process is not None:
                try:
                    program.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    log.warning("%s did not stop in time", program.name)
                self._kill(program)

    def _spawn(self, program: Program) -> None:
        output = self._output(program)
        if program.stale is not None:
            program.stale.unlink(missing_ok=True)
        passed = [listening.fileno() for listening in program.listening]
        program.process = subprocess.Popen(
            program.command,
            cwd=settings.BASE_DIR,
            env={
                **_inherited(),
                **program.env,
                "ZERVERLESS_PROCESS": program.name,
                "ZERVERLESS_LISTENING": ",".join(map(str, passed)),
            },
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=partial(_become, program.nice),
        )
        if output is not None:
            os.close(output)
        program.started = time.monotonic()
        if program.cluster:
            Cluster.objects.filter(pk=program.cluster).update(asked_at=None)

    def _output(self, program: Program) -> int | None:
        if self.log_dir is None:
            return None
        self.log_dir.mkdir(parents=True, exist_ok=True)
        path = self.log_dir / f"{program.name}.log"
        if path.exists() and path.stat().st_size > LOG_MAX:
            path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _revive(self, program: Program) -> None:
        if program.is_running:
            if time.monotonic() - program.started > HEALTHY_SECONDS:
                program.failures = 0
            return
        if program.restart_at == 0.0:
            self._kill(program)
            # At once the first time: nobody serves meanwhile.
            wait = min(0.5 * (2 ** min(program.failures, 8) - 1), BACKOFF_MAX)
            program.failures += 1
            program.restart_at = time.monotonic() + wait
            code = program.process.returncode if program.process else "?"
            log.error("%s ended (%s); restarting", program.name, code)
        if time.monotonic() >= program.restart_at:
            program.restart_at = 0.0
            self._spawn(program)

    def _check(self, program: Program) -> None:
        try:
            stuck = _is_stuck(program.cluster)
        except DatabaseError:
            log.warning("cannot read the beat of %s", program.cluster, exc_info=True)
            return
        if stuck:
            log.error("cluster %s stopped working; restarting it", program.cluster)
            self._kill(program)

    def _kill(self, program: Program) -> None:
        """End what is left of a program, its children included."""
        _signal_group(program, signal.SIGKILL)
        if program.process is not None:
            program.process.wait()


def _is_stuck(name: str) -> bool:
    """Ask the cluster for a beat now and then; True when it owes one for too long."""
    cluster = Cluster.objects.get(pk=name)
    now = timezone.now()
    if cluster.asked_at is None or (
        cluster.beat_at is not None
        and cluster.beat_at >= cluster.asked_at
        and now - cluster.asked_at > ASK_EVERY
    ):
        Cluster.objects.filter(pk=name).update(asked_at=now)
        if name != clusters.GIT:  # it beats without being asked
            queue.beat(name)
        return False
    owing = cluster.beat_at is None or cluster.beat_at < cluster.asked_at
    return owing and now - cluster.asked_at > STUCK_AFTER


def _signal_group(program: Program, number: signal.Signals) -> None:
    if program.process is None:
        return
    try:
        os.killpg(program.process.pid, number)
    except ProcessLookupError:
        return


def _inherited() -> dict[str, str]:
    """Our environment without GRANIAN_*, which would override the command lines."""
    return {k: v for k, v in os.environ.items() if not k.startswith("GRANIAN_")}


def _become(nice: int) -> None:
    """In the new process. A supervisor killed with SIGKILL must not leave it behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.nice(nice)
