"""A gateway starting, stopping and losing what it depends on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.gateway import ALIAS, Gateway, StartGateway


@pytest.fixture
def own(start_gateway: StartGateway) -> Gateway:
    """A gateway of the test's own, with one function whose image does not exist."""
    gateway = start_gateway()
    gateway.deploy("/api")
    return gateway


def rows() -> list[Any]:
    from runtime.models import Gateway as Row

    return list(Row.objects.using(ALIAS).all())


def worker_of(gateway: Gateway) -> int:
    """granian serves in a child process."""
    assert gateway.process is not None
    listing = ["ps", "-o", "pid=", "--ppid", str(gateway.process.pid)]
    return int(subprocess.check_output(listing))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_stopping_writes_the_last_rows_and_leaves(own: Gateway) -> None:
    [row] = rows()
    assert row.pid == worker_of(own)
    for _ in range(3):
        own.get("/alice/api")
    assert own.stop() == 0
    assert len(own.invocations(status=503)) == 3
    assert rows() == []


def test_the_heartbeat_moves(own: Gateway) -> None:
    before = rows()[0].heartbeat_at
    own.until(lambda: rows()[0].heartbeat_at > before, 10)


def test_a_worker_whose_main_process_was_killed_ends_itself(own: Gateway) -> None:
    """It would keep the port, and nobody would ever stop it."""
    worker = worker_of(own)
    assert own.process is not None
    os.kill(own.process.pid, signal.SIGKILL)
    own.until(lambda: not is_running(worker), 15)
    assert rows() == []


def test_a_killed_worker_ends_the_main_process(own: Gateway) -> None:
    """The supervisor sees it and starts another."""
    assert own.process is not None
    os.kill(worker_of(own), signal.SIGKILL)
    assert own.process.wait(15) != 0
    own.start()
    assert own.get("/alice/api").get("x-zerverless-function") == "alice/api"


def rename(table: str, new: str) -> None:
    from django.db import connections

    with connections[ALIAS].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {new}")


def test_while_the_database_fails_the_last_routes_serve(own: Gateway) -> None:
    """Threat 106: and the rows of that time are written afterwards."""
    rename("runtime_installation", "away_installation")
    rename("runtime_invocation", "away_invocation")
    own.until(lambda: own.get("/readyz").status == 503)
    assert own.get("/alice/api").get("x-zerverless-function") == "alice/api"
    assert own.get("/livez").status == 200
    rename("away_installation", "runtime_installation")
    rename("away_invocation", "runtime_invocation")
    own.until(lambda: own.get("/readyz").status == 200)
    own.until(lambda: own.invocations(path="/alice/api"))


def test_a_slow_body_is_not_waited_for_forever(start_gateway: StartGateway) -> None:
    """Threat 70."""
    gateway = start_gateway(ZERVERLESS_REQUEST_TIMEOUT="1s")
    gateway.deploy("/api")
    wire = gateway.wire()
    wire.send(b"POST /alice/api HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
    began = time.monotonic()
    answer = wire.read()
    wire.close()
    assert (answer.status, answer.get("x-zerverless-error")) == (408, "ZV408")
    assert 0.5 < time.monotonic() - began < 3


def test_waiting_bodies_are_bounded(start_gateway: StartGateway) -> None:
    """Threat 69: two hundred slow uploads cannot fill the memory."""
    gateway = start_gateway(ZERVERLESS_CONCURRENCY="2", ZERVERLESS_MAX_BODY="1Mi")
    gateway.deploy("/api")
    head = b"POST /alice/api HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
    waiting = [gateway.wire().send(head + bytes(1 << 19)) for _ in range(8)]
    time.sleep(0.5)  # for the server to read what was sent; nothing tells us
    last = gateway.wire().send(head + bytes(1 << 20))
    statuses = [last.read().status]
    for wire in [*waiting, last]:
        wire.close()
    assert statuses == [429]
    gateway.until(lambda: gateway.send("POST", "/alice/api", b"x").status == 503)
