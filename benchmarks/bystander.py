"""Seconds a push waits beside another tenant's hostile builds, on one build slot.

    python -m benchmarks.bystander        # prints a line for each neighbour

The bystander's function is live before; a change of it is pushed once the neighbour's
builds are in line before it, or run. Not part of `make bench`: a neighbour's build is
meant to take as long as it can. Seen on two cores with a load of 20: 21.6 s beside
nobody; beside the bomb 117.8 s before its work was bounded, and 20.1 s after.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from benchmarks.client import until
from benchmarks.platform import NAMESPACE, Files, Platform

PATIENCE = 1200.0
DOCKERFILE = 'FROM busybox\nCMD ["echo", "WORD"]\n'
BOMB = ("**/" * 100 + "*a" * 90 + "\n") * 1900  # 930 kB
DEEP = "/".join(["a" * 30] * 4)


def _bomb() -> Files:
    """A .dockerignore that costs as much as it can, against 50 names."""
    names = {f"{DEEP}/name{number:02}": "x" for number in range(50)}
    return {**names, "Dockerfile": "FROM busybox\nCMD true\n", ".dockerignore": BOMB}


def _slow() -> Files:
    return {"Dockerfile": f"FROM busybox\nRUN sleep 5 # {time.time()}\nCMD true\n"}


# What the neighbour pushes, and how many functions are built from it.
NEIGHBOURS: dict[str, tuple[Callable[[], Files] | None, int]] = {
    "nobody": (None, 0),
    "a .dockerignore bomb": (_bomb, 1),
    "ten builds of 5 s": (_slow, 10),
}


def measure(name: str) -> dict[str, object]:
    """How long the bystander's push takes beside this neighbour."""
    make, copies = NEIGHBOURS[name]
    platform = Platform(ZERVERLESS_BUILD_CONCURRENCY="1", ZERVERLESS_SAMPLE="off")
    try:
        files: Files = {"Dockerfile": DOCKERFILE.replace("WORD", "one")}
        platform.deploy("bystander", files)
        if make:
            platform.commit("neighbour", make(), copies=copies)
            repository = f"file://{platform.data_dir}/repositories/neighbour"
            platform.stack.manage(
                "add_application",
                f"--namespace={NAMESPACE}",
                "--name=neighbour",
                f"--repo={repository}",
            )
            until(lambda: _builds(platform, "/neighbour") == copies, PATIENCE)
        files["Dockerfile"] = DOCKERFILE.replace("WORD", "two")
        platform.commit("bystander", files)
        began = time.perf_counter()
        platform.dashboard.sync(f"{NAMESPACE}/bystander")
        path = f"/{NAMESPACE}/bystander"
        until(lambda: platform.get(path) == "two\n", PATIENCE)
        seconds = round(time.perf_counter() - began, 1)
        return {"beside": name, "seconds": seconds}
    finally:
        platform.stop()


def _builds(platform: Platform, path: str) -> int:
    """How many builds there are of functions below a path, in whatever state."""
    return int(
        platform.stack.shell(
            "from builds.models import Build\n"
            f"rows = Build.objects.filter(function__path__startswith='{path}')\n"
            "print(rows.count())"
        )
    )


if __name__ == "__main__":
    for neighbour in sys.argv[1:] or NEIGHBOURS:
        print(json.dumps(measure(neighbour)), flush=True)
