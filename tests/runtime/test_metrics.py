"""`/metrics`: who may read it, and whether what it says is right and well-formed."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from applications.models import Application
from applications.work import Cluster, State
from builds.models import Build
from runtime import figures, metrics
from runtime.exchange import Exchange
from runtime.http_server import Server
from runtime.metric import METRICS
from runtime.metrics import Metrics, may_read
from runtime.models import Gateway, Instance
from runtime.routes import RouteTable
from runtime.traffic import Traffic
from tests.fixtures.gateway import Answer, Wire
from tests.fixtures.pages import finished, make_world
from tests.fixtures.stack import free_port
from tests.fixtures.traffic import route_to

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "the-scrapers-own-token"


class Endpoint:
    """A server that answers every request with metrics, in a thread of its own."""

    def __init__(self, name: str = "gateway") -> None:
        self.traffic = Traffic()
        self.table: RouteTable | None = None
        self.metrics = Metrics(self.traffic, lambda: self.table, name)
        self.port = free_port()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, is_up: threading.Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = Server(self._handle, lambda now: None)
        await self.metrics.start()
        await server.start("127.0.0.1", self.port)
        is_up.set()
        await self._stopping.wait()
        await server.stop(2)
        self.metrics.stop()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    def _handle(self, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self.metrics.answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ask(self, **headers: str) -> Answer:
        lines = {
            "host": "localhost",
            "authorization": f"Bearer {TOKEN}",
            **headers,
        }
        head = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in lines.items())
        wire = Wire(self.port)
        try:
            return wire.send(f"GET /metrics HTTP/1.1\r\n{head}\r\n".encode()).read()
        finally:
            wire.close()

    def scrape(self) -> dict[str, Metric]:
        answer = self.ask()
        assert answer.status == 200, answer.body
        families = text_string_to_metric_families(answer.body.decode())
        return {family.name: family for family in families}


@contextmanager
def serving(name: str = "gateway") -> Iterator[Endpoint]:
    endpoint, is_up = Endpoint(name), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(endpoint.run(is_up)))
    thread.start()
    assert is_up.wait(10)
    try:
        yield endpoint
    finally:
        endpoint.stop()
        thread.join(10)


@pytest.fixture
def endpoint(settings: Any, tmp_path: Path) -> Iterator[Endpoint]:
    settings.DATA_DIR, settings.RUN_DIR = tmp_path, tmp_path / "run"
    settings.ZERVERLESS_METRICS_TOKEN = TOKEN
    with serving() as running:
        yield running


def samples(family: Metric) -> dict[tuple[str, ...], float]:
    """Values by their labels' values, these in the alphabet's order of their names."""
    return {
        tuple(value for _, value in sorted(one.labels.items())): one.value
        for one in family.samples
    }


# -- who may read it ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "may"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        ("Bearer something-else", False),
        ("Bearer ", False),
        ("", False),
        (f"Basic {TOKEN}", False),
        (TOKEN, False),
        ("Bearer \xff", False),
    ],
)
def test_only_the_token_opens_it(settings: Any, given: str, may: Any) -> None:
    settings.ZERVERLESS_METRICS_TOKEN = TOKEN
    headers = [(b"host", b"zv.example"), (b"authorization", given.encode("latin-1"))]
    assert may_read(headers) is may
    settings.ZERVERLESS_METRICS_TOKEN = ""
    assert not may_read(headers)


def test_this_machine_is_asked_for_the_token_too(endpoint: Endpoint) -> None:
    """Threat 140: a build's ADD reaches the gateway from this machine's own address."""
    refused = endpoint.ask(authorization="")
    assert (refused.status, refused.get("www-authenticate")) == (401, "Bearer")
    assert b"zerverless_" not in refused.body
    assert b"manage.py scrape_config" in refused.body
    allowed = endpoint.ask(host="zv.example", x_forwarded_for="192.0.2.7")
    assert allowed.status == 200
    assert allowed.get("content-type") == "text/plain; version=0.0.4; charset=utf-8"


def test_the_scrape_configuration_is_printed(settings: Any) -> None:
    settings.ZERVERLESS_BASE_URL = "https://zv.example:8443"
    settings.ZERVERLESS_METRICS_TOKEN = TOKEN
    printed = StringIO()
    call_command("scrape_config", stdout=printed)
    [job] = yaml.safe_load(printed.getvalue())["scrape_configs"]
    assert job == {
        "job_name": "zerverless",
        "scheme": "https",
        "static_configs": [{"targets": ["zv.example:8443"]}],
        "authorization": {"credentials": TOKEN},
    }


# -- what it says ---------------------------------------------------------------------


def test_requests_are_counted_by_function_and_class(endpoint: Endpoint) -> None:
    route = route_to(1, '/a"b\\')
    for status in (200, 204, 404):
        endpoint.traffic.observe(route, status, 0.003)
    endpoint.traffic.observe(route, 503, 0.003, "ZV503S")
    endpoint.traffic.observe(route, 502, 0.003, "ZV502M")
    endpoint.traffic.cold(route, 0.9)
    found = endpoint.scrape()
    counted = samples(found["zerverless_requests"])
    place = ('/a"b\\', "alice")
    assert counted == {("2xx", *place): 2, ("4xx", *place): 1, ("5xx", *place): 2}
    assert samples(found["zerverless_platform_errors"]) == {("ZV503S", *place): 1}
    assert samples(found["zerverless_function_errors"]) == {("ZV502M", *place): 1}
    durations = found["zerverless_request_duration_seconds"]
    by_bound = {
        one.labels["le"]: one.value for one in durations.samples if "le" in one.labels
    }
    assert (by_bound["0.002"], by_bound["0.004"], by_bound["+Inf"]) == (0, 5, 5)
    sums = {one.name: one.value for one in durations.samples}
    assert sums["zerverless_request_duration_seconds_count"] == 5
    assert sums["zerverless_request_duration_seconds_sum"] == pytest.approx(0.015)
    cold = found["zerverless_cold_start_seconds"].samples
    assert cold[-1].value == pytest.approx(0.9)


def test_a_function_that_is_gone_disappears(endpoint: Endpoint) -> None:
    kept, gone = route_to(1, "/kept"), route_to(2, "/gone")
    again = route_to(3, "/gone")  # somebody else's, at the same place
    for route in (kept, gone):
        endpoint.traffic.observe(route, 200, 0.1)
    endpoint.table = RouteTable([kept, again])
    counted = samples(endpoint.scrape()["zerverless_requests"])
    assert counted == {("2xx", "/kept", "alice"): 1}


def test_there_are_only_so_many_functions(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "FUNCTIONS_MAX", 3)
    for number in range(5):
        endpoint.traffic.observe(route_to(number, f"/{number}"), 200, 0.1)
    found = endpoint.scrape()
    assert len(found["zerverless_requests"].samples) == 3
    assert samples(found["zerverless_functions_left_out"]) == {(): 2}


def test_the_process_and_the_version_are_told(endpoint: Endpoint) -> None:
    found = endpoint.scrape()
    [labels] = samples(found["zerverless_build_info"])
    assert labels[1].count(".") == 2
    for name in ("process_resident_memory_bytes", "process_open_fds"):
        assert found[name].samples[0].value > 0
    assert found["process_cpu_seconds"].samples[0].value > 0


def test_the_database_tells_of_builds_queues_workers_and_git(
    endpoint: Endpoint,
) -> None:
    world = make_world()
    Build.objects.update(started_at=timezone.now() - timedelta(seconds=15))
    hour_ago = timezone.now() - timedelta(hours=1)
    world.application.syncs.create(trigger="poll", queued_at=hour_ago)
    Cluster.objects.create(name="control", beat_at=hour_ago)
    Cluster.objects.create(name="builds")
    gateway = Gateway.objects.create(id="g", pid=1)
    Instance.objects.create(
        name="i",
        gateway=gateway,
        deployment=world.deployment,
        state="paused",
        memory=1,
        started_at=hour_ago,
    )
    found = endpoint.scrape()
    assert samples(found["zerverless_database_up"]) == {(): 1}
    assert samples(found["zerverless_builds"]) == {("succeeded",): 1}
    built = {one.labels.get("le", one.name): one.value for one in _built(found)}
    assert (built["10.0"], built["20.0"]) == (0, 1)
    assert samples(found["zerverless_queue_depth"]) == {("build",): 0, ("sync",): 1}
    waited = samples(found["zerverless_queue_oldest_seconds"])
    assert waited["build",] == 0
    assert waited["sync",] == pytest.approx(3600, abs=60)
    beats = samples(found["zerverless_worker_heartbeat_age_seconds"])
    assert beats["control",] == pytest.approx(3600, abs=60)
    assert beats["builds",] == float("inf")
    instances = samples(found["zerverless_instances"])
    assert (instances["paused",], instances["ready",]) == (1, 0)
    [synced] = samples(found["zerverless_repo_last_sync_timestamp_seconds"]).items()
    assert synced[0] == (world.application.name, "alice")
    assert synced[1] == pytest.approx(timezone.now().timestamp(), abs=60)
    assert found["zerverless_disk_free_bytes"].samples[0].value > 0


def _built(found: dict[str, Metric]) -> Any:
    return found["zerverless_build_duration_seconds"].samples


def test_the_last_sync_is_the_last_that_was_good(endpoint: Endpoint) -> None:
    applications = Application.objects
    world = make_world()
    old = timezone.now() - timedelta(days=1)
    world.application.syncs.update(finished_at=old)
    applications.update(poll_error="refused")
    removed = make_world("/removed").application
    applications.filter(pk=removed.pk).update(removed_at=timezone.now())
    never = make_world("/never").application
    never.syncs.all().delete()
    applications.filter(pk=never.pk).update(status="unknown")
    found = endpoint.scrape()["zerverless_repo_last_sync_timestamp_seconds"]
    assert samples(found) == {
        (world.application.name, "alice"): pytest.approx(old.timestamp()),
        (never.name, "alice"): 0,
    }


def test_a_build_is_counted_once_however_often_it_is_looked_at(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "FRESH", 0.0)
    world = make_world()
    for state in (State.FAILED, State.ERRORED):
        sync = world.application.syncs.create(
            trigger="poll", revision=world.revision, **finished()
        )
        endpoint.scrape()
        Build.objects.create(
            function=world.function,
            revision=world.revision,
            sync=sync,
            key="k",
            **finished(state),
        )
    endpoint.scrape()
    counted = samples(endpoint.scrape()["zerverless_builds"])
    assert counted == {("succeeded",): 1, ("failed",): 1, ("errored",): 1}


def test_a_database_that_is_away_takes_nothing_else_along(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "FRESH", 0.0)
    endpoint.traffic.observe(route_to(1), 200, 0.1)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE builds_build RENAME TO away")
    try:
        found = endpoint.scrape()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO builds_build")
    assert samples(found["zerverless_database_up"]) == {(): 0}
    assert len(found["zerverless_requests"].samples) == 1
    assert "zerverless_queue_depth" not in found
    assert samples(endpoint.scrape()["zerverless_database_up"]) == {(): 1}


def test_a_database_that_is_slow_is_not_waited_for(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PATIENCE", 0.1)
    is_back = threading.Event()
    read = figures.read
    monkeypatch.setattr(figures, "read", lambda: is_back.wait(20) and read())
    found = endpoint.scrape()
    assert samples(found["zerverless_database_up"]) == {(): 0}
    is_back.set()
    while samples(endpoint.scrape()["zerverless_database_up"]) != {(): 1}:
        pass


def test_what_is_documented_is_what_is_there(endpoint: Endpoint) -> None:
    make_world()
    endpoint.traffic.observe(route_to(1), 502, 0.1, "ZV502")
    endpoint.traffic.cold(route_to(1), 0.1)
    found = endpoint.scrape()
    ours = {name for name in found if name.startswith("zerverless_")}
    assert ours == {metric.full_name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = found[metric.full_name.removesuffix("_total")]
        assert family.type == metric.kind
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


# -- several gateways on one port -----------------------------------------------------


def test_any_gateway_tells_of_all_of_them(
    settings: Any, tmp_path: Path, endpoint: Endpoint
) -> None:
    settings.ZERVERLESS_GATEWAYS = 2
    with serving("gateway-1") as one, serving("gateway-2") as two:
        one.traffic.observe(route_to(1), 200, 0.1)
        two.traffic.observe(route_to(1), 200, 0.1)
        two.traffic.observe(route_to(1), 502, 0.1, "ZV502")
        for asked in (one, two):
            found = asked.scrape()
            counted = samples(found["zerverless_requests"])
            assert counted == {
                ("2xx", "/api", "gateway-1", "alice"): 1,
                ("2xx", "/api", "gateway-2", "alice"): 1,
                ("5xx", "/api", "gateway-2", "alice"): 1,
            }
            gateways = samples(found["process_open_fds"])
            assert set(gateways) == {("gateway-1",), ("gateway-2",)}
    with serving("gateway-1") as one:
        # One that was killed has left its socket.
        left = settings.RUN_DIR / "metrics" / "gateway-2.sock"
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.bind(str(left))
        assert set(samples(one.scrape()["process_open_fds"])) == {()}
