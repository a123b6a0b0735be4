"""Has what a build gets prepared from a commit, in a process of its own.

Patterns, names and sizes come from strangers. Whatever they cost, the process that
works through them can be ended at once, has a limit on its memory, and knows neither
our database nor our keys: it is told which commit, and answers with a tar.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from django.conf import settings

from applications.errors import GitError, GitUnavailable, ZerverlessError
from builds import process
from builds.context import Limits
from builds.errors import BuildCancelled, BuildEngineError, BuildError

MEMORY_MAX = 1 << 30  # address space of the process, bytes
_FIRST = 10  # descriptors below this are the shell's that guards the process


@dataclass(frozen=True)
class Order:
    """What to prepare. `when` is the files' time, `builtin` as for `context.pack`."""

    url: str
    sha: str
    branch: str
    context: str
    dockerfile: str
    limits: Limits
    when: int
    builtin: bool = False
    memory: int = MEMORY_MAX


@dataclass(frozen=True)
class Prepared:
    """What the tar holds. `dockerfile` is the name of the Dockerfile in it, `text` what
    it says; `outdated` is the frontend it asks for that is not used, with `builtin`."""

    dockerfile: str
    text: str
    builtin: bool
    outdated: str
    files: int
    size: int
    ignored: int
    submodules: Sequence[str]


@contextmanager
def prepared(
    order: Order, stop: Callable[[], bool], until: float
) -> Iterator[tuple[Prepared, BinaryIO]]:
    """The tar, in a file without a name that is gone however the block ends.

    `stop` is asked several times a second; `until` is on the monotonic clock. Raises
    BuildCancelled, BuildError and GitError (theirs), GitUnavailable and
    BuildEngineError (ours).
    """
    with (
        tempfile.TemporaryFile() as wanted,
        tempfile.TemporaryFile() as tar,
        tempfile.TemporaryFile() as answer,
    ):
        with _duplicates(tar, answer) as outputs:
            pickle.dump((order, _settings(), outputs), wanted)
            wanted.seek(0)
            _run(wanted, answer, outputs, stop, until)
        tar.seek(0)
        answer.seek(0)
        yield Prepared(**json.load(answer)), tar


def _run(
    wanted: BinaryIO,
    answer: BinaryIO,
    outputs: Sequence[int],
    stop: Callable[[], bool],
    until: float,
) -> None:
    """Have the process do it; raises what it answers if that is no success."""
    said: deque[str] = deque(maxlen=20)
    command = [sys.executable, "-m", "builds.prepare_process"]
    seconds = max(until - time.monotonic(), 0)
    try:
        code = process.run(
            command, _environment(), wanted, said.append, stop, seconds, outputs
        )
    except process.Stopped:
        raise BuildCancelled("The build was cancelled.") from None
    except process.TimedOut:
        raise BuildError(
            "Preparing the context took all the time that a build has "
            "(DOCKER_BUILD_TIMEOUT). Leave files out, or shorten .dockerignore.",
            "build:timeout",
        ) from None
    if code == 0:
        return
    answer.seek(0)
    text = answer.read()
    raise (
        _error(json.loads(text))
        if text
        else BuildEngineError(
            f"Preparing the context ended with {code}: {' '.join(said)[-500:]}"
        )
    )


def _settings() -> dict[str, Any]:
    """The settings that Git needs, and no other."""
    names = ("DATA_DIR", "ZERVERLESS_REPOSITORY_MAX")
    return {
        name: getattr(settings, name)
        for name in dir(settings)
        if name in names or name.startswith("ZERVERLESS_GIT_")
    }


def _environment() -> dict[str, str]:
    ours = ("ZERVERLESS_", "DJANGO_", "DATABASE_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {**kept, "PYTHONPATH": str(settings.BASE_DIR)}


@contextmanager
def _duplicates(*files: BinaryIO) -> Iterator[list[int]]:
    """The files once more, under numbers that the guarding shell does not use."""
    made = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _FIRST) for file in files]
    try:
        yield made
    finally:
        for one in made:
            os.close(one)


_KINDS = {"build": BuildError, "git": GitError, "unavailable": GitUnavailable}


def _error(told: dict[str, str]) -> ZerverlessError:
    kind: type[ZerverlessError] = _KINDS.get(told["kind"], BuildEngineError)
    error = kind(told["message"], told["code"])
    if isinstance(error, BuildError):
        error.step = told["step"]
    return error
