"""What the daemon lets all running build steps use together, as far as we can see.

BuildKit ignores per-build limits (`docker build --memory` and the like); its steps run
in a cgroup of their own below the daemon's, and a limit set there (docker/dind/
limit-builds) holds for all of them. Another machine's cgroups cannot be seen.
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

# The daemon's default --cgroup-parent is /docker; version 1, then version 2.
MEMORY_FILES = (
    Path("/sys/fs/cgroup/memory/docker/buildkit/memory.limit_in_bytes"),
    Path("/sys/fs/cgroup/docker/buildkit/memory.max"),
)
_UNLIMITED = 1 << 60  # version 1 says "none" by a number near 2**63


def memory() -> int | None:
    """Bytes all build steps may use together, or None when no limit can be seen."""
    if not settings.DOCKER_HOST.startswith("unix://"):
        return None
    for file in MEMORY_FILES:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(text)
    return None


def sentence() -> str:
    """The limit in words, for the top of a log."""
    limit = memory()
    if limit is None:
        return (
            "Build steps: no memory limit of the Docker daemon can be seen from here "
            "(docs/decisions/0003-buildkit-through-the-command-line.md)."
        )
    return f"Build steps may use {limit / (1 << 30):.1f} GiB of memory together."
