"""What processes take, from the kernel's own books (proc(5))."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def proportional_memory(pids: Iterable[int]) -> float:
    """MiB of proportional set size, added up: shared pages count once."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):  # it has ended
            total += _field(pid, "smaps_rollup", "Pss:")
    return total / 1024


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


def processor_times(pid: int) -> tuple[float, float]:
    """Seconds a process has spent in its own code and in the kernel."""
    text = Path(f"/proc/{pid}/stat").read_text()
    user, system = map(int, text.rpartition(")")[2].split()[11:13])
    return user / _TICKS, system / _TICKS


def children(program: str) -> list[int]:
    """Every process of a program's name, and what each has started."""
    parents = {}
    names = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            text = stat.read_text()
            pid = int(stat.parent.name)
            parents[pid] = int(text.rpartition(")")[2].split()[1])
            names[pid] = text.partition("(")[2].rpartition(")")[0]

    def belongs(pid: int) -> bool:
        while pid:
            if names.get(pid, "").startswith(program[:15]):
                return True
            pid = parents.get(pid, 0)
        return False

    return [pid for pid in parents if belongs(pid)]


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


def busy(seconds: float) -> float:
    """The share of all processors' time that was used meanwhile, 0 to 1."""
    before = _stat()
    time.sleep(seconds)
    total, idle = (now - then for now, then in zip(_stat(), before, strict=True))
    return 1 - idle / max(1, total)


def _stat() -> tuple[int, int]:
    """All and idle time of the machine, in ticks (proc(5): user … steal)."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return sum(ticks), ticks[3] + ticks[4]
