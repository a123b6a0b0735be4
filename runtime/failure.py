"""Why a run gave no answer, in a sentence that says what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.conf import settings

from runtime import sandbox
from runtime.container import Outcome
from runtime.errors import (
    Abandoned,
    AnswerTooLarge,
    FunctionFailed,
    FunctionTimeout,
    InvocationError,
    OutOfMemory,
)
from runtime.pump import Stopped

_EXITS = {
    126: "its command cannot be executed",
    127: "its command was not found",
    134: "it aborted (SIGABRT)",
    137: "it was killed (SIGKILL), as when memory runs out",
    139: "it crashed (SIGSEGV)",
    153: f"it wrote a file larger than {sandbox.FILE_SIZE // sandbox.MEBIBYTE} MiB",
}
_NOT_EXECUTED = frozenset({126, 127})
_FORMAT = re.compile(rb"exec format error|\x7felf|\belf\b|syntax error")
_NO_NAMES = "a function has no network and no names; localhost is 127.0.0.1"
_PRIVATE = (
    "network: egress reaches no private addresses but those that an operator names in "
    "ZERVERLESS_EGRESS_ALLOW"
)
_FIRST = (
    "it insists on being process 1, which is our init: have CMD run the program itself "
    "and not an init or supervisor of its own"
)
# What a program says when a limit of ours stops it, and what that limit is.
_HINTS = (
    (b"exec format error", "the command is not a program for this machine"),
    (b"read-only file system", "only /tmp is writable"),
    (b"no space left on device", f"{sandbox.SPACE} is all there is to write to"),
    (b"resource temporarily unavailable", f"{sandbox.PIDS} processes are the limit"),
    # s6-overlay, systemd, its and sysvinit's telinit, busybox, OpenRC, finit.
    *(
        (mark, _FIRST)
        for mark in (
            b"only run as pid 1",
            b"must be run as pid 1",
            b"must be pid 1",
            b"not been booted with systemd",
            b"telinit implementation",
            b"/run/initctl",
        )
    ),
)
# What the network of the manifest has to do with it.
_NETWORK_HINTS = {
    "none": (
        (b"network is unreachable", "a function has no network"),
        (b"name resolution", _NO_NAMES),
        (b"eai_again", _NO_NAMES),
    ),
    "egress": (
        (b"network is unreachable", "network: egress is IPv4 only"),
        (b"no route to host", _PRIVATE),
        (b"ehostunreach", _PRIVATE),
    ),
}
_LISTENS = re.compile(
    r"(?i)\b(?:listen|running|serving|served|started|ready|available|bound)"
    r"[^\n]{0,80}?(?:\bport\W{0,3}|:)([0-9]{2,5})\b"
)
_NOBODY = "its image names no USER, so it runs as nobody (65534)"

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def error_of(
    outcome: Outcome,
    timeout: float,
    memory: int,
    user: str,
    command: Callable[[], str] = str,
) -> InvocationError | None:
    """The error a run ended in; `user` is the image's, `command` looks for what is
    wrong with its command. None: it ended well."""
    if outcome.stopped is Stopped.DEADLINE:
        late = f"The function did not end within {timeout:g} s."
        return FunctionTimeout(late + _as_server(outcome.listens))
    if outcome.stopped is Stopped.TOO_LARGE:
        limit = settings.ZERVERLESS_MAX_BODY / sandbox.MEBIBYTE
        return AnswerTooLarge(f"The function wrote more than {limit:g} MiB.")
    if outcome.stopped is Stopped.CANCELLED:
        return Abandoned("The client closed the connection; the function was stopped.")
    if outcome.oom:
        return out_of_memory(memory)
    if outcome.exit_code == 0:
        return None
    asks = is_command_in_doubt(outcome.exit_code, outcome.stderr)
    found = command() if asks else ""
    said = outcome.stderr
    return FunctionFailed(explain(outcome.exit_code, said, user, command=found))


def _as_server(ports: tuple[int, ...]) -> str:
    """What to do about a function that runs once per request and is a server."""
    if not ports:
        return ""
    listed = " and ".join(map(str, ports))
    return f" It listens on {listed}: write port: {ports[0]} in the manifest."


def is_command_in_doubt(exit_code: int | None, said: bytes) -> bool:
    """Whether a program ended as if its command could not be executed at all: a shell
    takes one for another machine for a script, and says what it read."""
    return exit_code in _NOT_EXECUTED or _FORMAT.search(said.lower()) is not None


def out_of_memory(memory: int) -> OutOfMemory:
    """The error of a function that wanted more than `memory` bytes."""
    used = f"The function used more than its {memory / sandbox.MEBIBYTE:g} MiB"
    return OutOfMemory(f"{used} of memory. Raise `memory` in the manifest.")


def explain(
    exit_code: int | None,
    stderr: bytes,
    user: str,
    when: str = "",
    network: str = "none",
    command: str = "",
) -> str:
    """Why a program ended so, with a hint where it met a limit of ours. `command` is
    what is known to be wrong with the file of its command."""
    log = stderr.lower()
    parts = [_EXITS.get(exit_code or 0, "")]
    hints = _HINTS + _NETWORK_HINTS[network]
    parts += [hint for mark, hint in hints if mark in log][:1]
    if b"permission denied" in log and not user:
        parts.append(_NOBODY)
    reason = command or "; ".join(part for part in parts if part)
    ended = f"The function ended with exit code {exit_code}{when}"
    return f"{ended}: {reason}." if reason else f"{ended}."


def elsewhere(said: str, port: int | None) -> str:
    """What to do about a server that says it listens on another port than `port`."""
    others = [found for found in _LISTENS.findall(said) if int(found) != port]
    if not others:
        return ""
    return (
        f" It says that it listens on {others[-1]}: write port: {others[-1]} in the "
        "manifest, or have it listen on $PORT."
    )


def clean_log(outcome: Outcome) -> str:
    """The tail of standard error as text that can be stored and shown anywhere."""
    text = clean(outcome.stderr)
    return f"…{text}" if outcome.stderr_cut and text else text


def clean(said: bytes) -> str:
    """What a program wrote as text that can be stored and shown anywhere."""
    text = said.decode("utf-8", "replace").replace("\r\n", "\n")
    return _CONTROLS.sub("", _ESCAPES.sub("", text))
