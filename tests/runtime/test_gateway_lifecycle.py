"""A gateway starting, stopping and losing what it depends on."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fixtures.gateway import Gateway, StartGateway


@pytest.fixture
def own_gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway of the test's own, with one function whose image does not exist."""
    gateway = start_gateway()
    gateway.deploy("/api")
    return gateway


def rows(gateway: Gateway) -> list[Any]:
    from runtime.models import Gateway as Row

    return list(Row.objects.using(gateway.alias).all())


def test_stopping_writes_the_last_rows_and_leaves(own_gateway: Gateway) -> None:
    [row] = rows(own_gateway)
    assert own_gateway.process is not None
    assert row.pid == own_gateway.process.pid
    for _ in range(3):
        own_gateway.get("/alice/api")
    assert own_gateway.stop() == 0
    assert len(own_gateway.invocations(status=503)) == 3
    assert rows(own_gateway) == []


def test_the_heartbeat_moves(own_gateway: Gateway) -> None:
    before = rows(own_gateway)[0].heartbeat_at
    own_gateway.until(lambda: rows(own_gateway)[0].heartbeat_at > before, 10)


def test_a_killed_gateway_leaves_its_port_free(own_gateway: Gateway) -> None:
    """The supervisor sees it and starts another."""
    assert own_gateway.process is not None
    own_gateway.process.kill()
    own_gateway.process.wait(15)
    own_gateway.start()
    assert own_gateway.get("/alice/api").get("x-zerverless-function") == "alice/api"


def rename(gateway: Gateway, table: str, new: str) -> None:
    from django.db import connections

    with connections[gateway.alias].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {new}")


def test_while_the_database_fails_the_last_routes_serve(own_gateway: Gateway) -> None:
    """Threat 106: and the rows of that time are written afterwards."""
    rename(own_gateway, "runtime_installation", "away_installation")
    rename(own_gateway, "runtime_invocation", "away_invocation")
    own_gateway.until(lambda: own_gateway.get("/readyz").status == 503)
    assert own_gateway.get("/alice/api").get("x-zerverless-function") == "alice/api"
    assert own_gateway.get("/livez").status == 200
    rename(own_gateway, "away_installation", "runtime_installation")
    rename(own_gateway, "away_invocation", "runtime_invocation")
    own_gateway.until(lambda: own_gateway.get("/readyz").status == 200)
    own_gateway.until(lambda: own_gateway.invocations(path="/alice/api"))


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
    time.sleep(1)  # one more byte before they are all in would cost one of them
    gateway.until(lambda: gateway.send("POST", "/alice/api", b"x").status == 429)
    for wire in waiting:
        wire.close()
    gateway.until(lambda: gateway.send("POST", "/alice/api", b"x").status == 503)
