"""The gateway with containers started ahead: who is called finds one waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime import engine
from tests.fixtures.functions import docker, image_of, wait_until
from tests.fixtures.gateway import Answer, Gateway, StartGateway


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> Iterator[Gateway]:
    gateway = start_gateway(ZERVERLESS_PRIMED_MAX="4")
    yield gateway
    gateway.stop()
    name = installation(gateway)
    assert engine.list_ours(name) == [], "a stopped gateway left containers"
    for volume in docker("volume", "ls", "-q", "-f", f"name={name}").split():
        docker("volume", "rm", volume)


def installation(gateway: Gateway) -> str:
    from runtime.models import Installation

    return str(Installation.objects.using(gateway.alias).get().name)


def waiting(gateway: Gateway) -> list[str]:
    ours = engine.list_ours(installation(gateway))
    return [row.image_id for row in ours if "-primed" in row.name]


def was_waiting(answer: Answer) -> bool:
    """Nothing was created or started while the caller waited."""
    return "cold;dur=0.0" in answer.get("server-timing")


def saying(word: str) -> str:
    return image_of(f'FROM busybox\nCMD ["echo", "{word}"]\n')


def test_a_later_call_finds_a_container_waiting(gateway: Gateway) -> None:
    gateway.deploy("/second", saying("second"))
    first = gateway.get("/alice/second")
    assert (first.status, was_waiting(first)) == (200, False)

    def served_by_one_that_waited() -> bool:
        answer = gateway.get("/alice/second")
        assert (answer.status, answer.body) == (200, b"second\n")
        return was_waiting(answer)

    wait_until(served_by_one_that_waited)


def test_a_new_deployment_answers_at_once_and_the_old_stock_goes(
    gateway: Gateway,
) -> None:
    old, new = saying("old"), saying("new")
    gateway.deploy("/swap", old)
    assert gateway.get("/alice/swap").body == b"old\n"
    wait_until(lambda: old in waiting(gateway))  # maybe not ready, but there
    gateway.deploy("/swap", new)
    assert gateway.get("/alice/swap").body == b"new\n"
    wait_until(lambda: old not in waiting(gateway))


def test_a_burst_is_answered_whole(gateway: Gateway) -> None:
    """Twenty at once to a function nobody has called, with default limits."""
    gateway.deploy("/burst", saying("burst"))
    wires = [gateway.wire() for _ in range(20)]
    for wire in wires:
        wire.send(b"GET /alice/burst HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    answers = [wire.read() for wire in wires]
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"burst\n")}
