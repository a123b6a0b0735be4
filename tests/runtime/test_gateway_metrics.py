"""A real gateway counts what it answers: for a scrape at once, for the charts later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.gateway import Answer, Gateway, StartGateway


@pytest.fixture
def own_gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway of the test's own, with one function whose image does not exist."""
    gateway = start_gateway()
    gateway.deploy("/api", methods=["GET"])
    return gateway


def found(answer: Answer) -> dict[tuple[str, ...], float]:
    """Every value by its name and its labels' values."""
    assert answer.status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def minutes(gateway: Gateway) -> list[Any]:
    from runtime.models import TrafficMinute

    return list(TrafficMinute.objects.using(gateway.alias).all())


def test_what_was_answered_is_counted_by_whose_error_it_was(
    own_gateway: Gateway,
) -> None:
    for _ in range(3):
        assert own_gateway.get("/alice/api").get("x-zerverless-error") == "ZV503"
    assert own_gateway.send("POST", "/alice/api", b"").status == 405
    assert own_gateway.get("/alice/nothing").status == 404
    values = found(own_gateway.scrape())
    assert values["zerverless_requests_total", "5xx", "/api", "alice"] == 3
    assert values["zerverless_requests_total", "4xx", "/api", "alice"] == 1
    assert values["zerverless_platform_errors_total", "ZV503", "/api", "alice"] == 3
    assert values["zerverless_database_up",] == 1
    assert not any("/nothing" in labels for labels in values)
    own_gateway.stop()
    rows = minutes(own_gateway)
    assert sum(row.requests for row in rows) == 4
    assert sum(row.platform_errors for row in rows) == 3
    assert sum(row.client_errors for row in rows) == 1


def test_each_installation_has_a_token_of_its_own(
    own_gateway: Gateway, start_gateway: StartGateway
) -> None:
    """Threat 140: made at the first start; a setting may say another one."""
    made = own_gateway.directory / "metrics-token"
    assert (made.stat().st_mode & 0o777, len(made.read_text())) == (0o600, 64)
    other = start_gateway(ZERVERLESS_METRICS_TOKEN="let-me-in")
    for gateway, token, status in (
        (own_gateway, made.read_text(), 200),
        (own_gateway, "let-me-in", 401),
        (own_gateway, "", 401),
        (other, "let-me-in", 200),
    ):
        answer = gateway.get("/metrics", authorization=f"Bearer {token}")
        assert (answer.status, b"zerverless_" in answer.body) == (status, status == 200)


def test_gateways_on_one_port_answer_for_each_other(
    start_gateway: StartGateway,
) -> None:
    first = start_gateway(ZERVERLESS_GATEWAYS="2", ZERVERLESS_PROCESS="gateway")
    first.deploy("/api")
    second = replace(first, settings={**first.settings}, process=None)
    second.settings["ZERVERLESS_PROCESS"] = "gateway-2"
    second.start()
    try:
        second.until(lambda: b'"gateway-2"' in first.scrape().body)
        for _ in range(20):
            assert first.get("/alice/api").status == 503
        values = found(first.scrape())
    finally:
        second.stop()
    calls = {
        key[2:]: count
        for key, count in values.items()
        if key[0] == "zerverless_requests_total"
    }
    assert sum(calls.values()) == 20
    assert all(gateway.startswith("gateway") for _, gateway, _ in calls)
    processes = {key[1] for key in values if key[0] == "process_open_fds"}
    assert processes == {"gateway", "gateway-2"}
