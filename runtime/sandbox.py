"""What a function's container may do: the engine's "create a container" body. Pure.

Every field an image can bring along (user, labels, volumes, health check, stop signal)
is set here, because what is not set is the image's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from builds import volumes as volumes_of

MEBIBYTE = 1 << 20
# Used where the image names no user. With a Dockerfile's own `USER`, root included, the
# author has chosen; without capabilities that root is an ordinary user in all but name.
NOBODY = "65534:65534"
PIDS = 64
FILES = 1024
FILE_SIZE = 32 * MEBIBYTE
SHM_SIZE = 16 * MEBIBYTE
# noexec is missing on purpose: interpreters and self-extracting programs run from /tmp.
_TMPFS = "rw,exec,nosuid,nodev,mode=1777"
_TMP = f"{_TMPFS},size=32m,nr_inodes=2048"
_VOLUME = f"{_TMPFS},size=8m,nr_inodes=512"
SPACE = "/tmp with 32 MiB, each VOLUME with 8 MiB"  # noqa: S108


@dataclass(frozen=True)
class Limits:
    """Memory in bytes, `cpu` in processors (0.5 is half of one)."""

    memory: int
    cpu: float


def refusal(*, has_command: bool, workdir: str, volumes: tuple[str, ...]) -> str:
    """Why an image cannot be run at all, or an empty string."""
    if not has_command:
        return "The image has neither CMD nor ENTRYPOINT: say what to run."
    if volumes_of.is_below(workdir, "/proc", "/sys", "/dev"):
        # A working directory in /proc/self/fd has led out of containers before
        # (CVE-2024-21626).
        return f"The image's WORKDIR {workdir!r} is not allowed: use a directory."
    return volumes_of.problem(volumes, any_spelling=True)


def container_config(
    image_id: str,
    environment: dict[str, str],
    limits: Limits,
    *,
    user: str,
    volumes: tuple[str, ...],
    labels: dict[str, str],
    reads_body: bool,
) -> dict[str, Any]:
    """The body of `POST /containers/create` (Engine API 1.41)."""
    return {
        "Image": image_id,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "User": user or NOBODY,
        # A name that resolves without an /etc/hosts, which it does not have (below).
        "Hostname": "127.0.0.1",
        "Labels": labels,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",
        # A network namespace with nothing but `lo`, as `none` alone gives it too, but
        # without the hook that starts a dockerd to tell it so: half of a start. The
        # price is an /etc/hosts without `localhost`.
        "NetworkDisabled": True,
        "Tty": False,
        "AttachStdin": reads_body,
        "OpenStdin": reads_body,
        "StdinOnce": reads_body,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host_config(limits, user or NOBODY, volumes),
    }


def host_config(limits: Limits, user: str, volumes: tuple[str, ...]) -> dict[str, Any]:
    """The flags of threats 56 to 59, each of which a test sees from inside."""
    return {
        "NetworkMode": "none",
        "Memory": limits.memory,
        "MemorySwap": limits.memory,  # equal: no swap; unset would mean twice as much
        "NanoCpus": int(limits.cpu * 1_000_000_000),
        "PidsLimit": PIDS,
        "ReadonlyRootfs": True,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "IpcMode": "private",
        "ShmSize": SHM_SIZE,
        "Init": True,
        "AutoRemove": False,  # would race with reading the exit code
        "RestartPolicy": {"Name": "no"},
        # We are attached; a log file would only be a disk to fill.
        "LogConfig": {"Type": "none", "Config": {}},
        "Tmpfs": _tmpfs(user, volumes),
        "Ulimits": [
            {"Name": "nofile", "Soft": FILES, "Hard": FILES},
            {"Name": "fsize", "Soft": FILE_SIZE, "Hard": FILE_SIZE},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
    }


def _tmpfs(user: str, volumes: tuple[str, ...]) -> dict[str, str]:
    """Memory, counted and capped, wherever the function may write.

    Without it Docker makes a volume on disk for every VOLUME of the image, writable
    under a read-only root and without a limit. The mount keeps the mode of the
    directory below it, so its owner has to be the function's user; a user given by
    name has a number only inside the image, and there the owner stays root.
    """
    numbers = re.fullmatch(r"([0-9]+)(?::([0-9]+))?", user)
    owner = f",uid={numbers[1]},gid={numbers[2] or 0}" if numbers else ""
    # Covered is what has the same path; Docker compares after cleaning it.
    mounts = dict.fromkeys(map(volumes_of.clean, volumes), _VOLUME + owner)
    return {**mounts, "/tmp": _TMP + owner}  # noqa: S108
