"""Where the time of a warm request goes: `python -m benchmarks.profile`.

Samples the gateway with py-spy (PyPI, in a virtual environment of its own) while wrk
asks a warm server function at 32 connections. Samples in a system call share the
processor time the kernel used, the others the rest, as /proc counts both: sampling
itself sees system calls too often. Writes docs/warm-request.svg and the table that
docs/performance.md shows.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.__main__ import LATEST
from benchmarks.bench import Bench, run
from benchmarks.flame import Stack, draw
from benchmarks.measure import quiet
from benchmarks.resources import processor_times
from benchmarks.warm import checked
from benchmarks.wrk import Load, wrk

PY_SPY = Path.home() / ".cache" / "zerverless-bench" / "py-spy"
PICTURE = Path(__file__).parent.parent / "docs" / "warm-request.svg"
SECONDS = 20
_CALLS = {
    "read": "kernel: receive",
    "recv": "kernel: receive",
    "write": "kernel: send",
    "send": "kernel: send",
    "sendmsg": "kernel: send",
    "writev": "kernel: send",
    "epoll_pwait": "kernel: wait",
    "epoll_wait": "kernel: wait",
}
# By the file of the innermost frame of ours.
_PARTS = {
    "read the request": ("request_reader", "client_connection", "http_request"),
    "find the function and an instance of it": (
        "gateway",
        "servers",
        "instances",
        "fleet",
        "idle",
        "instance",
        "functions",
    ),
    "headers, both ways": ("forward", "function_headers"),
    "pass it on, answer and all": ("relay", "proxy"),
    "read the answer": ("upstream_connection",),
    "write the answer": ("reply", "exchange"),
    "access log": ("access",),
    "counts, and rows of some requests": ("traffic", "histogram", "record"),
}
_OTHER = "event loop: uvloop and libuv"
_FRAME = re.compile(r"(?P<name>.+) \((?P<file>.+?)(?::\d+)?\)$")


def main() -> int:
    """Measure and write."""
    bench = Bench()
    try:
        stacks, load, user, system = _sample(bench)
    finally:
        bench.close()
    requests = load.rps * (SECONDS + 2)
    kernel = sum(count for stack, count in stacks.items() if _is_kernel(stack))
    rest = sum(stacks.values()) - kernel
    weighed = {
        stack: 1e6
        / requests
        * count
        * (system / kernel if _is_kernel(stack) else user / rest)
        for stack, count in stacks.items()
    }
    PICTURE.write_text(draw(weighed, "µs"))
    parts: Counter[str] = Counter()
    for stack, micros in weighed.items():
        parts[_part(stack)] += micros  # type: ignore[assignment]
    rows = {name: round(micros, 2) for name, micros in parts.most_common()}
    latest = json.loads(LATEST.read_text())
    latest["warm_request"] = {"rps": round(load.rps), "microseconds": rows}
    LATEST.write_text(json.dumps(latest, indent=1, ensure_ascii=False) + "\n")
    for name, micros in rows.items():
        print(f"{micros:6.2f} µs  {name}")
    return 0


def _sample(bench: Bench) -> tuple[Counter[Stack], Load, float, float]:
    """Stacks of the event loop's thread, the load, and its seconds of user and
    system time meanwhile."""
    url, gateway = bench.server_url, bench.platform.gateway()
    py_spy = _py_spy()
    wrk(url, 32, 3)
    quiet()
    user, system = processor_times(gateway)
    with ThreadPoolExecutor(1) as thread, tempfile.TemporaryDirectory() as folder:
        asking = thread.submit(lambda: checked(wrk(url, 32, SECONDS + 2)))
        raw = Path(folder) / "raw"
        command = [str(py_spy), "record", "--native", f"--pid={gateway}", "--rate=250"]
        command += ["--format=raw", f"--duration={SECONDS}", f"--output={raw}"]
        subprocess.run(command, check=True, capture_output=True)
        load = asking.result()
        now = processor_times(gateway)
        stacks = _read(raw.read_text())
    return stacks, load, now[0] - user, now[1] - system


def _read(raw: str) -> Counter[Stack]:
    """py-spy's lines, `frame;frame;frame count`, as short stacks."""
    stacks: Counter[Stack] = Counter()
    for line in raw.splitlines():
        frames, _, count = line.rpartition(" ")
        before, found, inside = frames.partition("Runner.run (asyncio/runners.py")
        if found and before:
            stacks[_shortened(inside.split(";")[1:])] += int(count)
    return stacks


def _shortened(frames: list[str]) -> Stack:
    """Python's frames, and of others only the library they belong to."""
    short = ["event loop"]
    for frame in frames:
        match = _FRAME.match(frame)
        name = _name(match["name"], match["file"]) if match else ""
        if name and name != short[-1]:
            short.append(name)
    return tuple(short)


def _name(name: str, file: str) -> str:
    if file.endswith(".py"):
        return f"{Path(file).stem}: {name}"
    if name in _CALLS:
        return _CALLS[name]
    if "llhttp" in name or "parser" in file:
        return "llhttp"
    return ""


def _is_kernel(stack: Stack) -> bool:
    return stack[-1].startswith("kernel")


def _part(stack: Stack) -> str:
    ours = [name.partition(":")[0] for name in stack]
    where = next(
        (part for file in reversed(ours) for part, at in _PARTS.items() if file in at),
        _OTHER,
    )
    if not _is_kernel(stack):
        return "llhttp" if stack[-1] == "llhttp" else where
    if stack[-1] == "kernel: send":
        to = "function" if "relay: Relay.begin" in stack else "client"
        return f"kernel: send to the {to}"
    return stack[-1]


def _py_spy() -> Path:
    """The sampler; its environment is made when it is first needed."""
    if not (PY_SPY / "bin" / "py-spy").exists():
        run([sys.executable, "-m", "venv", "--clear", str(PY_SPY)])
        pip = str(PY_SPY / "bin" / "pip")
        run([pip, "install", "--quiet", "py-spy==0.4.3"])
    return PY_SPY / "bin" / "py-spy"


if __name__ == "__main__":
    sys.exit(main())
