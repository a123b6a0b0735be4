"""Runs one command that must die with us: its lines, its deadline, its cancellation.

SIGKILL and nothing milder: the Docker client answers a SIGTERM by waiting for the
running step, while a broken connection makes the daemon stop it within 0.1 s.
"""

from __future__ import annotations

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
_LAST = 10  # seconds a command may take to end after it closed its output

# Standard input is a pipe only this process can write to. When it closes, because a
# worker was killed and could not clean up, the guard kills the group (preexec_fn, for
# a death signal, is unsafe beside threads and would reach the client only, not its
# plugins). The command reads the file whose descriptor is the first argument.
_GUARDED = """
exec 4<"/dev/fd/$1" || exit 126
shift
exec 3<&0
{ read -r _; kill -KILL 0; } <&3 3<&- 4<&- >/dev/null 2>&1 &
guard=$!
"$@" 3<&- <&4 4<&-
status=$?
kill -KILL "$guard" && wait "$guard" 2>/dev/null
exit "$status"
"""


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
    keep_open: Sequence[int] = (),
) -> int:
    """The command's exit code, after `on_line` had every line it printed.

    `stdin` must be a real file, read from its beginning; `stop` is asked about every
    TICK. `keep_open` are descriptors above 9 that the command inherits. A command that
    cannot be started ends with 126 or 127, as in a shell. Raises Stopped or TimedOut
    once the command and its children are gone.
    """
    deadline = time.monotonic() + seconds
    with _started(argv, env, stdin, keep_open) as child:
        for data in _output(child, stop, deadline):
            for line in data:
                on_line(line)
        try:
            return child.wait(_LAST)
        except subprocess.TimeoutExpired:
            raise TimedOut from None


@contextmanager
def _started(
    argv: Sequence[str],
    env: Mapping[str, str],
    stdin: BinaryIO,
    keep_open: Sequence[int],
) -> Iterator[subprocess.Popen[bytes]]:
    file = stdin.fileno()
    child = subprocess.Popen(
        ["/bin/sh", "-c", _GUARDED, "build", str(file), *argv],
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(file, *keep_open),
        start_new_session=True,
    )
    try:
        yield child
    finally:
        # Not once the leader is reaped: its number may belong to somebody else then.
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()


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
