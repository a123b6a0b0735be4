"""Server functions under load: no request pays for what happens to the instances."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.fixtures.functions import wait_until
from tests.fixtures.gateway import Gateway, StartGateway
from tests.fixtures.load import Load, Tally
from tests.fixtures.servers import server_image

SMALL: dict[str, Any] = {"port": 8080, "memory": 32 << 20}


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> Iterator[Gateway]:
    gateway = start_gateway()
    yield gateway
    assert gateway.stop() == 0


def busy(gateway: Gateway, path: str) -> int:
    """How many instances of a function have a request just now."""
    from runtime.models import Instance

    rows = Instance.objects.using(gateway.alias).filter(in_flight__gt=0)
    return rows.filter(deployment__function__path=path).count()


def test_deployments_under_load_fail_no_request(gateway: Gateway) -> None:
    """No answer is older than one before it on its connection, none is missing."""
    gateway.deploy("/turning", server_image(), **SMALL)
    with Load(gateway.port, "/alice/turning", rate=150).running() as tally:
        wait_until(partial(_has_answered, tally, 1))
        for number in (2, 3, 4):
            gateway.deploy("/turning", server_image(), **SMALL)
            wait_until(partial(_has_answered, tally, number))
            time.sleep(1)
    assert (tally.failures, tally.ended_idle) == ([], 0)
    assert sorted(tally.revisions) == [1, 2, 3, 4]


def _has_answered(tally: Tally, revision: int) -> bool:
    return tally.revisions[revision] > 100


def test_from_one_instance_to_four_under_load(gateway: Gateway) -> None:
    gateway.deploy("/growing", server_image(), concurrency=1, max_instances=4, **SMALL)
    path, slow = "/alice/growing", "/wait/40"
    with Load(gateway.port, path, connections=1, below=slow).running() as alone:
        wait_until(lambda: busy(gateway, "/growing") == 1)
        with Load(gateway.port, path, connections=8, below=slow).running() as tally:
            wait_until(lambda: busy(gateway, "/growing") == 4, 15)
    assert min(alone.answered, tally.answered) > 0
    assert alone.failures + tally.failures == []
