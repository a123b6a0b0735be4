"""A server function with a way out, through a real gateway."""

from __future__ import annotations

from runtime import egress
from runtime.models import Installation
from tests.fixtures.functions import docker, image_of, wait_until
from tests.fixtures.gateway import Gateway, StartGateway
from tests.fixtures.outside import PROBE_DOCKERFILE, REACHED, address


def network(gateway: Gateway) -> str:
    name = Installation.objects.using(gateway.alias).get().name
    return egress.network_name(name)


def networks() -> list[str]:
    return docker("network", "ls", "--format", "{{.Name}}").split()


def body(gateway: Gateway, target: str) -> str:
    answer = gateway.get(target)
    assert answer.status == 200, answer.body
    return answer.body.decode()


def test_only_who_asked_for_it_has_a_way_out(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    image = image_of(PROBE_DOCKERFILE)
    gateway.deploy("/out", image, port=8080, network="egress")
    gateway.deploy("/none", image, port=8080)
    with address("198.51.100") as (host, port), address("10.77.5") as (own, other):
        assert body(gateway, f"/alice/out/tcp/{host}/{port}") == REACHED
        assert "No route" in body(gateway, f"/alice/out/tcp/{own}/{other}")
        assert "unreachable" in body(gateway, f"/alice/none/tcp/{host}/{port}")
    assert network(gateway) in networks()
    assert gateway.stop() == 0
    wait_until(lambda: network(gateway) not in networks())


def test_a_database_on_ones_own_network_can_be_allowed(
    start_gateway: StartGateway,
) -> None:
    with address("10.77.9") as (host, port), address("10.77.5") as (own, other):
        gateway = start_gateway(ZERVERLESS_EGRESS_ALLOW=f"{host}:{port}")
        image = image_of(PROBE_DOCKERFILE)
        gateway.deploy("/out", image, port=8080, network="egress")
        gateway.deploy("/none", image, port=8080)
        assert body(gateway, f"/alice/out/tcp/{host}/{port}") == REACHED
        assert "No route" in body(gateway, f"/alice/out/tcp/{own}/{other}")
        assert "unreachable" in body(gateway, f"/alice/none/tcp/{host}/{port}")
        assert gateway.stop() == 0


def test_what_is_live_is_not_started_once_it_is_switched_off(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(ZERVERLESS_EGRESS="off")
    image = image_of(PROBE_DOCKERFILE)
    gateway.deploy("/out", image, port=8080, network="egress")
    answer = gateway.get("/alice/out/status")
    assert answer.status == 502
    assert b"ZERVERLESS_EGRESS" in answer.body
    assert gateway.stop() == 0
