"""Runs one command that must die with us: its lines, its deadline, its cancellation."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from builds.lines import Splitter

TICK = 0.2  # seconds between two looks at `stop`
_CHUNK = 1 << 16
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


class Stopped(Exception):
    """`stop` said so; the command was killed."""


class TimedOut(Exception):
    """The command ran past its deadline; it was killed."""


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    stdin: BinaryIO,
    on_line: Callable[[str], None],
    stop: Callable[[], bool],
    seconds: float,
) -> int:
    """The command's exit code, after `on_line` had every line it printed.

    `stop` is asked about every TICK. Raises Stopped or TimedOut once the command and
    its children are gone, OSError when it cannot be started.
    """
    deadline = time.monotonic() + seconds
    with _started(argv, env, stdin) as child:
        for data in _output(child, stop, deadline):
            for line in data:
                on_line(line)
        return child.wait()


@contextmanager
def _started(
    argv: Sequence[str], env: Mapping[str, str], stdin: BinaryIO
) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        argv,
        env=dict(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    try:
        yield child
    finally:
        # SIGKILL, not SIGTERM: the Docker client answers a SIGTERM by waiting for the
        # running step; a broken connection makes the daemon stop it within 0.1 s.
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()


def _die_with_parent() -> None:
    # A worker that gets SIGKILL cannot clean up; the kernel kills the client for it,
    # and the daemon stops the step when the connection breaks.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _output(
    child: subprocess.Popen[bytes], stop: Callable[[], bool], deadline: float
) -> Iterator[Iterator[str]]:
    splitter = Splitter()
    if child.stdout is None:  # pragma: no cover - it is a pipe
        return
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        asked = 0.0
        while True:
            ready = selector.select(TICK)
            now = time.monotonic()
            # A flood of output must not starve the question, nor pay it per chunk.
            if now - asked >= TICK:
                asked = now
                if stop():
                    raise Stopped
                if now > deadline:
                    raise TimedOut
            if not ready:
                continue
            data = os.read(child.stdout.fileno(), _CHUNK)
            if not data:
                yield splitter.end()
                return
            yield splitter.feed(data)
