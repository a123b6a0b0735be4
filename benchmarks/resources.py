"""What processes take, from the kernel's own books (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def proportional_memory(pids: Iterable[int]) -> float:
    """MiB of proportional set size, added up: shared pages count once."""
    return sum(_field(pid, "smaps_rollup", "Pss:") for pid in pids) / 1024


def resident_memory(pid: int) -> float:
    """MiB resident in one process now."""
    return _field(pid, "status", "VmRSS:") / 1024


def peak_memory(pid: int) -> float:
    """MiB resident in one process at most since `reset_peak`."""
    return _field(pid, "status", "VmHWM:") / 1024


def reset_peak(pid: int) -> None:
    """Start `peak_memory` anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time used so far, by them and by children they have waited for."""
    return sum(_cpu(pid) for pid in pids) / _TICKS


def _cpu(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0  # it ended meanwhile; its parent has waited for it
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime


def _field(pid: int, file: str, name: str) -> float:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name)))
