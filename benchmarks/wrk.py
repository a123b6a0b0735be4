"""The load tool: wrk (Debian), one thread, keep-alive."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

_FACTORS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw; times in milliseconds."""

    rps: float
    p50: float
    p99: float
    errors: int  # answers that were not 2xx or 3xx, and broken connections


def wrk(url: str, connections: int, duration: int = 3, script: str = "") -> Load:
    """Ask for `url` on so many connections for `duration` seconds."""
    command = ["wrk", "--threads=1", f"--connections={connections}", "--latency"]
    command += [f"--duration={duration}s", "--timeout=10s"]
    command += [f"--script={script}"] if script else []
    command.append(url)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return read(done.stdout)


def read(text: str) -> Load:
    """The report of wrk 4.1."""
    return Load(
        rps=float(_match(r"Requests/sec:\s+([\d.]+)", text)[1]),
        p50=_latency("50", text),
        p99=_latency("99", text),
        errors=_errors(text),
    )


def _latency(percent: str, text: str) -> float:
    found = _match(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text)
    return float(found[1]) * _FACTORS[found[2]]


def _errors(text: str) -> int:
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: (.+)", text)
    counts = re.findall(r"\d+", broken[1]) if broken else []
    return sum(map(int, counts)) + (int(refused[1]) if refused else 0)


def _match(pattern: str, text: str) -> re.Match[str]:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk said something else:\n{text}")
    return found
