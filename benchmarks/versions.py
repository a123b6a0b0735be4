"""What the figures were measured with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import cache
from typing import Any

_COMMANDS = {
    "docker": ["docker", "version", "--format", "{{.Server.Version}}"],
    "runc": ["docker", "info", "--format", "{{.RuncCommit.ID}}"],
    "nginx": ["nginx", "-v"],
    "wrk": ["wrk", "-v"],
    "gcc": ["gcc", "-dumpfullversion"],
}


@cache
def machine() -> dict[str, Any]:
    """The machine and the version of everything that takes part."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory": f"{_memory() >> 30} GiB",
        "versions": {
            "python": platform.python_version(),
            **{name: _version(command) for name, command in _COMMANDS.items()},
        },
    }


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        names = (line.partition(":")[2] for line in lines if "model name" in line)
        return next(names, platform.machine()).strip()


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    said = done.stdout + done.stderr
    found = re.search(r"\d+\.\d+[\w.+~-]*", said)
    return found[0] if found else said.strip()[:40]
