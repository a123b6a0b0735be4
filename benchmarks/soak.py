"""Use and abuse for as long as an hour's traffic takes: `python -m benchmarks.soak`.

On an installation and a Docker daemon of its own. Containers, sandboxes and the gateway
are killed at random, clients go away early, new versions are pushed, and once the
daemon is killed. Then everything has to come to rest, with nothing left and every
failure explained. Ends by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Any

from benchmarks.client import until
from benchmarks.endurance import once, server
from benchmarks.platform import NAMESPACE, Platform
from benchmarks.soak_report import Report
from tests.fixtures import census
from tests.fixtures.census import Census
from tests.fixtures.chaos import Chaos
from tests.fixtures.load import Load
from tests.fixtures.own_engine import OwnEngine, started

SMALL = ", memory: 32Mi"
SERVER = ", port: 8080, memory: 32Mi, idle: 5s, instances: {max: 4}"
# What waits for nobody goes soon, so that what is left at the end was lost; and what
# is called every three seconds is paused and resumed all the time.
ENVIRONMENT = {"ZERVERLESS_PRIMED_KEEP": "5s", "ZERVERLESS_PAUSE_AFTER": "1s"}
REST = 120.0  # seconds until everything that was killed has to be cleared away
_GATEWAYS_UNTIL = 0.6  # of the time: then its memory is watched
_ENGINE_AT = 0.7


def main() -> int:
    """Soak; 1 where something was lost or a failure is not explained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", type=int, default=200_000, help="requests")
    parser.add_argument("--oneshot", type=int, default=2_000, help="requests")
    parser.add_argument("--seconds", type=float, default=600.0, help="they take")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed")
    options = parser.parse_args()
    with ExitStack() as stack:
        engine = stack.enter_context(started())
        soak = Soak(engine, options.seconds, options.seed)
        stack.callback(soak.platform.stop)
        return soak.run(options.warm, options.oneshot)


class Soak:
    """One run, on `engine`."""

    def __init__(self, engine: OwnEngine, seconds: float, seed: int) -> None:
        self.engine = engine
        self.seconds = seconds
        _load_images(engine)
        self.platform = Platform(DOCKER_HOST=engine.host, **ENVIRONMENT)
        self.chaos = Chaos(self.platform.stack, seed)
        self.memory: dict[str, list[float]] = {}
        self.pushes = self.gone = 0
        self._random = random.Random(seed)
        self._began = monotonic()

    def run(self, warm: int, oneshot: int) -> int:
        """All of it; what main returns."""
        self.platform.deploy("warm", server(1), SERVER)
        self.platform.deploy("rare", server(1), f"{SERVER}, network: egress")
        self.platform.deploy("once", once(1), SMALL)
        self._use(warm // 100, oneshot // 50, 20.0)
        before = self._rest()
        loads = self._abuse(warm, oneshot)
        after = self._rest()
        again = self._use(warm // 100, oneshot // 50, 20.0)
        return Report(
            loads,
            again,
            before,
            after,
            self.chaos,
            self.memory,
            self._began,
            self.pushes,
            self.gone,
        ).write()

    def _loads(self, warm: int, oneshot: int, seconds: float) -> dict[str, Load]:
        port = self.platform.stack.port
        most = {"warm": warm, "once": oneshot, "rare": max(2, int(seconds / 3))}
        return {
            name: Load(
                port,
                f"/{NAMESPACE}/{name}",
                connections={"warm": 8, "once": 4, "rare": 1}[name],
                rate=count / seconds,
                most=count,
                below="/once" if name == "once" else "/wait/0",
            )
            for name, count in most.items()
        }

    def _use(self, warm: int, oneshot: int, seconds: float) -> list[Load]:
        """As it is meant to be used, until everything was answered."""
        loads = list(self._loads(warm, oneshot, seconds).values())
        with _running(loads):
            until(lambda: all(load.is_over for load in loads), 10 * seconds)
        return loads

    # -- what happens meanwhile -------------------------------------------------------

    def _abuse(self, warm: int, oneshot: int) -> dict[str, Load]:
        loads = self._loads(warm, oneshot, self.seconds)
        self._began = monotonic()
        events = self._events()
        at, happen = next(events)
        with _running(loads.values()):
            while not (loads["warm"].is_over and loads["once"].is_over):
                if self._passed > 3 * self.seconds:
                    raise TimeoutError("the requests do not come to an end")
                if self._passed >= at:
                    self._happens(happen)
                    at, happen = next(events)
                sleep(0.1)
        return loads

    @property
    def _passed(self) -> float:
        return monotonic() - self._began

    def _events(self) -> Iterator[tuple[float, str]]:
        """When what happens, in seconds; without end."""
        every = {"container": 5.0, "gone": 1.0, "memory": 5.0, "push": 60.0}
        times = {**every, "gateway": 40.0, "engine": self.seconds * _ENGINE_AT}
        while True:
            name = min(times, key=lambda one: times[one])
            yield times[name], name
            times[name] += every.get(name, 40.0 if name == "gateway" else float("inf"))
            if name == "gateway" and times[name] > self.seconds * _GATEWAYS_UNTIL:
                times[name] = float("inf")

    def _happens(self, name: str) -> None:
        if name == "container":
            kinds = ["server", "server", "sandbox", "once", "once"]
            self.chaos.kill_container(self._random.choice(kinds))
        elif name == "gateway":
            self.chaos.kill_gateway()
        elif name == "engine":
            self.chaos.kill_engine(self.engine)
        elif name == "gone":
            self._go_away()
        elif name == "push":
            self._push()
        else:
            self._note_memory()

    def _go_away(self) -> None:
        """A client that does not wait for its answer."""
        name, below = self._random.choice([("warm", "/wait/20/x"), ("once", "/x")])
        target = f"/{NAMESPACE}/{name}{below}"
        with contextlib.suppress(OSError):
            place = ("127.0.0.1", self.platform.stack.port)
            with socket.create_connection(place, 5) as client:
                client.sendall(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
                sleep(self._random.random() / 20)
            self.gone += 1

    def _push(self) -> None:
        """A new version of every function."""
        self.pushes += 1
        self.platform.commit("warm", server(self.pushes + 1), SERVER)
        self.platform.commit("once", once(self.pushes + 1), SMALL)
        for name in ("warm", "once"):
            self.platform.dashboard.sync(f"{NAMESPACE}/{name}")

    def _note_memory(self) -> None:
        """Memory of each program, and the seconds that have passed."""
        stack = self.platform.stack
        self.memory.setdefault("seconds", []).append(round(self._passed, 1))
        for name in stack.PROGRAMS:
            found = census.program(stack.group(name))
            self.memory.setdefault(name, []).append(found.memory)

    # -- afterwards -------------------------------------------------------------------

    def _rest(self) -> Census:
        """Wait until nothing runs that waits for nobody."""
        stack = self.platform.stack
        with contextlib.suppress(TimeoutError):  # then the census says what is left
            until(lambda: census.take(stack).is_at_rest, REST, every=1.0)
        sleep(5)
        return census.take(stack)


@contextlib.contextmanager
def _running(loads: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for load in loads:
            stack.enter_context(load.running())
        yield


def _load_images(engine: OwnEngine) -> None:
    """What the functions are built from, out of the machine's engine."""
    save = ["docker", "save", "busybox:latest"]
    image = subprocess.run(save, check=True, capture_output=True).stdout
    load = ["docker", f"--host={engine.host}", "load", "--quiet"]
    subprocess.run(load, input=image, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
