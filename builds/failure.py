"""Says in one sentence which step of a build failed and why, from its last lines. Pure.

The words are those of BuildKit in Docker 20.10 and of later ones, and of the classic
builder; each pattern was seen in a real log (tests/builds/logs/).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from builds.errors import BuildEngineError, BuildError
from builds.lines import quoted, telling
from builds.sources import repository_of

DAEMON_LOST = "the connection to the Docker daemon was lost"
REASON_LINES = 3
_NOT_RUN = 126  # a shell's exit codes from here: not started, or killed by a signal

_DAEMON = re.compile(
    rf"(?i){DAEMON_LOST}|cannot connect to the docker daemon|failed to dial grpc"
    r"|error reading from server|code = unavailable|transport is closing"
    r"|error during connect|connection reset by peer|unexpected eof"
    r"|failed to create endpoint|failed to set up container networking"
)
_REGISTRY = re.compile(
    r"(?i)failed to do request|no such host|i/o timeout|tls handshake timeout"
    r"|toomanyrequests|network is unreachable|connection refused|server misbehaving"
)
_NOT_THERE = re.compile(
    r"(?i)\b404\b|not found|(?:manifest|name) unknown|does not exist|no matching"
)
_NOT_LET_IN = re.compile(
    r"(?i)\b(?:401|403)\b|unauthorized|no basic auth credentials|denied|forbidden"
    r"|insufficient[_ ]scope|authorization failed"
)
_FRONTEND = re.compile(r"resolve image config for (?:docker-image://)?(\S+)")
_METADATA = re.compile(r"load metadata for (\S+)|\AFROM (?:--\S+ )*(\S+)")
_STEP = re.compile(r"^ > (.+):$")
_CLASSIC_STEP = re.compile(r"^Step \d+/\d+ : (.+)$")
_FAILED = re.compile(r"^#(\d+) ERROR: ")
_OUTPUT = re.compile(r"^#(\d+) \d+\.\d+ (.*)$")
_CLASSIC_TALK = ("--->", "Removing intermediate container ")
_EXIT = re.compile(r"(?:exit code: |returned a non-zero code: )(\d+)$")
_MOUNT = re.compile(r"/\S*buildkit-mount\d+/")
_PREFIX = re.compile(
    r"^(?:ERROR: |error: )?"
    r"(?:failed to build: |failed to solve(?: with frontend \S+)?: "
    r"|failed to compute cache key: |failed to calculate checksum of ref \S+: "
    r"|failed to create LLB definition: |rpc error: code = \S+ desc = )*"
)


class FrontendUnavailable(BuildEngineError):
    """The frontend of `# syntax=` could not be had; the built-in one may do."""

    code = "build:frontend"


def is_refusal(said: str) -> bool:
    """Whether a registry answered, and said no; else it could not be asked."""
    said_no = _NOT_LET_IN.search(said) or _NOT_THERE.search(said)
    return said_no is not None and _REGISTRY.search(said) is None


def timed_out(lines: Sequence[str], seconds: float) -> BuildError:
    """The error of a build stopped at its deadline."""
    return BuildError(
        f"The build was stopped after {seconds:.0f} seconds (DOCKER_BUILD_TIMEOUT)"
        f"{_during(lines)}.",
        "build:timeout",
        _last_step(lines),
    )


def explain(lines: Sequence[str], code: int) -> BuildError | BuildEngineError:
    """The error that the last lines of a failed build amount to."""
    end = _final(lines)
    step = _failed_step(lines)
    # First, because the rest of such a line is the user's own command.
    if exit_code := _EXIT.search(end):
        return _exited(lines, step, int(exit_code[1]))
    if _DAEMON.search(end) or code >= _NOT_RUN:
        return BuildEngineError(f"Docker went away during the build: {end or code}")
    if frontend := _FRONTEND.search(step):
        return FrontendUnavailable(f"{frontend[1]} cannot be had: {end}")
    if parent := _METADATA.search(step):
        return _parent(parent[1] or parent[2], end, step)
    return _refused(end, step)


def no_parent(name: str, lines: Sequence[str]) -> BuildError | BuildEngineError:
    """The error of a parent image that was not fetched, of what Docker said of it."""
    end = _final(lines)
    if _DAEMON.search(end):
        return BuildEngineError(f"Docker went away while it fetched {name}: {end}")
    return _parent(name, end, f"FROM {name}")


def _parent(name: str, end: str, step: str) -> BuildError | BuildEngineError:
    if _REGISTRY.search(end):
        return BuildEngineError(
            f"The parent image {name} is not on the Docker host, and its registry "
            f"cannot be reached: {end}",
            "build:registry",
        )
    hint = ""
    if _NOT_LET_IN.search(end):
        host = repository_of(name).partition("/")[0]
        hint = (
            f". If it is private, somebody who runs this installation can store "
            f"credentials for it: manage.py add_registry --host {host}"
        )
    return BuildError(
        f"The parent image {name} cannot be had: {end}{hint}", "build:parent", step
    )


def _exited(lines: Sequence[str], step: str, code: int) -> BuildError:
    if code == 137:
        return BuildError(
            f'Step "{step}" was killed (exit code 137): out of memory, most likely.',
            "build:out-of-memory",
            step,
        )
    said = quoted(telling(_said(lines), REASON_LINES))
    reason = f": {said}" if said else " without a word"
    return BuildError(
        f'Step "{step}" failed with exit code {code}{reason}', "build:step", step
    )


def _refused(end: str, step: str) -> BuildError:
    what = f'Step "{step}" failed: {end}' if step else end or "The build failed"
    return BuildError(what, "build:failed", step)


def _final(lines: Sequence[str]) -> str:
    """The last line that is not a frame, without Docker's layers of wrapping."""
    for line in reversed(lines):
        if line.strip() and not line.startswith(("-----", "#")):
            return _MOUNT.sub("", _PREFIX.sub("", line.strip()))
    return ""


def _failed_step(lines: Sequence[str]) -> str:
    for line in reversed(lines):
        if found := _STEP.match(line) or _CLASSIC_STEP.match(line):
            return found[1]
    return ""


def _said(lines: Sequence[str]) -> list[str]:
    """What the failed step printed."""
    failed = next((found[1] for line in lines if (found := _FAILED.match(line))), "")
    if failed:
        printed = [_OUTPUT.match(line) for line in lines]
        said = [found[2] for found in printed if found and found[1] == failed]
    else:
        steps = [n for n, line in enumerate(lines) if _CLASSIC_STEP.match(line)]
        said = list(lines[steps[-1] + 1 : -1]) if steps else []
    stripped = [line.strip() for line in said]
    return [line for line in stripped if line and not line.startswith(_CLASSIC_TALK)]


def _last_step(lines: Sequence[str]) -> str:
    for line in reversed(lines):
        found = re.match(r"^#\d+ (\[.+)$", line) or _CLASSIC_STEP.match(line)
        if found:
            return found[1]
    return ""


def _during(lines: Sequence[str]) -> str:
    step = _last_step(lines)
    return f' during "{step}"' if step else ""
