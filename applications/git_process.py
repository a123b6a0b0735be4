"""Runs one git command on somebody else's repository so that nothing outlives it.

The command gets an environment of its own making, limits, bounded output and a
deadline. It runs in its own session under a guard that kills the whole process group
when this process goes away, even by SIGKILL: `git` starts helpers (`git-remote-https`,
`index-pack`) that would hang on a silent server forever, with nobody to kill them.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from django.conf import settings

from applications import git_address
from applications.git_url import check_url

ERRORS_MAX = 32 * 1024  # bytes of git's standard error that are kept
MEMORY_MAX = 2 * 2**30  # address space of one git process, bytes

# Standard input is a pipe only this process can write to. When it closes, the guard
# kills the group. Limits are set here because preexec_fn is unsafe in a process with
# threads. `ulimit -f` counts blocks of 512 bytes, `-v` units of 1024.
_GUARDED = """
ulimit -c 0
ulimit -f "$1" 2>/dev/null
ulimit -v "$2" 2>/dev/null
shift 2
exec 3<&0 </dev/null
{ read -r _; kill -KILL 0; } <&3 3<&- >/dev/null 2>&1 &
guard=$!
exec 3<&-
git "$@"
status=$?
kill -KILL "$guard" && wait "$guard" 2>/dev/null
exit "$status"
"""

# An operator's proxy and certificates are how the outside is reached at all.
_KEPT = (
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    *(
        name
        for stem in ("http", "https", "all", "no")
        for name in (f"{stem}_proxy", f"{stem}_proxy".upper())
    ),
)

_CONFIG = {
    "protocol.allow": "never",
    "http.followRedirects": "false",  # the first host is checked, a second is not
    "transfer.bundleURI": "false",  # nor a server that the first one names
    "fetch.uriProtocols": "",
    "credential.helper": "",
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "transfer.fsckObjects": "true",
    # A pack is one file under RLIMIT_FSIZE; loose objects could be a million.
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # Blobs above this are streamed: memory stays flat whatever a commit holds.
    "core.bigFileThreshold": "16m",
    "core.packedGitWindowSize": "32m",
    "core.packedGitLimit": "256m",
    "pack.threads": "1",
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended. `status` is its exit status, negative when it was killed."""

    status: int
    output: bytes
    errors: str
    timed_out: bool = False
    overflowed: bool = False

    @property
    def succeeded(self) -> bool:
        return self.status == 0 and not self.timed_out and not self.overflowed


_end = ContextVar("_end", default=float("inf"))  # for all commands of one task


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """All Git commands of the block together take at most so long."""
    token = _end.set(min(_end.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _end.reset(token)


def deadline(seconds: float | None = None) -> float:
    """When a command that starts now has to end, by `time.monotonic()`."""
    own = time.monotonic() + (seconds or settings.ZERVERLESS_GIT_TIMEOUT)
    return min(own, _end.get())


def home() -> Path:
    """The empty directory that is git's HOME and where it is started."""
    path = Path(settings.DATA_DIR) / "git" / "home"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def environment(url: str | None = None, **more: str) -> dict[str, str]:
    """Everything git may know: no user, no system configuration, no prompt.

    It may speak one protocol, that of `url`, with the host's checked addresses; and
    none at all without one. Raises GitAddressError for a URL that is not to be used.
    """
    config: dict[str, str] = {}
    protocol = ""
    if url is not None:
        check_url(url)
        protocol = url.partition("://")[0] if "://" in url else "file"
        config = {f"protocol.{protocol}.allow": "always", **git_address.pin(url)}
    empty = home()
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        "PATH": os.defpath,
        **kept,
        "HOME": str(empty),
        "LC_ALL": "C",
        # Or a checkout that the data directory happens to lie in is read as "ours".
        "GIT_CEILING_DIRECTORIES": str(empty.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/true",
        "GIT_ALLOW_PROTOCOL": protocol,
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "20",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **_config_environment(config),
        **more,
    }


def _config_environment(more: Mapping[str, str]) -> dict[str, str]:
    config = {**_CONFIG, **more}
    pairs = {"GIT_CONFIG_COUNT": str(len(config))}
    for number, (key, value) in enumerate(config.items()):
        pairs[f"GIT_CONFIG_KEY_{number}"] = key
        pairs[f"GIT_CONFIG_VALUE_{number}"] = value
    return pairs


def run(
    arguments: Sequence[str],
    *,
    url: str | None = None,
    output_max: int = 64 * 1024,
    timeout: float | None = None,
    keep_open: Sequence[int] = (),
) -> Outcome:
    """Run `git` with `arguments`; at most `timeout` seconds, default from settings.

    `url` is the one remote repository the command may speak to.
    `keep_open` are file descriptors git inherits: a lock stays held until the last
    process of the command is gone. Whatever ends this call ends every one of them.
    """
    ends = deadline(timeout)
    blocks = str(settings.ZERVERLESS_REPOSITORY_MAX // 512)
    memory = str(MEMORY_MAX // 1024)
    process = subprocess.Popen(
        ["/bin/sh", "-c", _GUARDED, "git", blocks, memory, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home(),
        env=environment(url),
        pass_fds=tuple(keep_open),
        start_new_session=True,
        # SIGXFSZ stays ignored: a file at its limit is an error git reports.
        restore_signals=False,
    )
    reader = _Reader(process, output_max)
    try:
        reader.read_until(ends)
        timed_out = not reader.overflowed and not _has_exited(process, ends)
    finally:
        _kill(process)
    return Outcome(
        process.returncode,
        bytes(reader.output),
        reader.errors.decode("utf-8", "replace"),
        timed_out,
        reader.overflowed,
    )


class _Reader:
    """Collects what a command writes, up to a limit, until it ends or time is up."""

    def __init__(self, process: subprocess.Popen[bytes], output_max: int) -> None:
        assert process.stdout
        assert process.stderr
        self.streams: list[IO[bytes]] = [process.stdout, process.stderr]
        self.output_max = output_max
        self.output, self.errors = bytearray(), bytearray()
        self.overflowed = False

    def read_until(self, deadline: float) -> None:
        """Read both streams to their ends, or until the deadline or the limit."""
        with selectors.DefaultSelector() as selector:
            for stream in self.streams:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map() and not self.overflowed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                for key, _ in selector.select(left):
                    if not self._take(key.fd):
                        selector.unregister(key.fileobj)

    def _take(self, descriptor: int) -> bool:
        """Keep what there is to read; False at the end of the stream."""
        data = os.read(descriptor, 64 * 1024)
        if descriptor == self.streams[0].fileno():
            self.output += data
            self.overflowed = len(self.output) > self.output_max
        else:
            self.errors = (self.errors + data)[-ERRORS_MAX:]
        return bool(data)


def _has_exited(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the exit without reaping, so that the group can still be named."""
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            return True
        time.sleep(0.001)
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group, then reap its leader.

    In this order: once the leader is reaped its number may belong to somebody else.
    """
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
