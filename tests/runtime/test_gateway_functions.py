"""Functions in real containers, through a real gateway."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fixtures.functions import wait_until
from tests.fixtures.gateway import Answer, Connect, Gateway

# The last segment of the path says what to do.
SCRIPT = b"""#!/bin/sh
case "$PATH_INFO" in
/cat) cat ;;
/env) env ;;
/sleep) sleep 20 ;;
/moment) sleep 1; echo done ;;
/fail) echo broken >&2; exit 3 ;;
/html) printf 'Content-Type: text/html\\nContent-Security-Policy: img-src *\\n\\n<p>' ;;
/svg) printf 'Content-Type: image/svg+xml\\n\\n<svg/>' ;;
/png) printf 'Content-Type: image/png\\n\\nx' ;;
/forged) printf 'X-Zerverless-Error: ZV500\\nX-Zerverless-Revision: v9\\n'
  printf 'X-Request-Id: forged-id\\nSet-Cookie: zerverless_session=1\\n'
  printf 'Set-Cookie: mine=1\\nConnection: close\\nContent-Length: 1\\n\\nbody' ;;
/teapot) printf 'Status: 418\\n\\nshort and stout' ;;
/nothing) printf 'Status: 204\\n\\nbody' ;;
/nul) printf 'X-A: a\\0b\\n\\nbody' ;;
/name) printf 'X A: b\\n\\nbody' ;;
/number) printf 'Status: 101\\n\\nbody' ;;
*) printf 'method=%s path=%s' "$REQUEST_METHOD" "$PATH_INFO"
  printf ' id=%s' "$HTTP_X_REQUEST_ID" ;;
esac
"""
DOCKERFILE = b"""FROM busybox
COPY function /function
RUN chmod 755 /function
LABEL revision=%d
ENV REVISION=%d
CMD ["/function"]
"""


def build(client: Any, tag: str, revision: int = 1) -> str:
    """The id of an image that runs SCRIPT."""
    import tarfile

    context = io.BytesIO()
    files = {"function": SCRIPT, "Dockerfile": DOCKERFILE % (revision, revision)}
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    context.seek(0)
    image, _ = client.images.build(
        fileobj=context, custom_context=True, tag=tag, rm=True
    )
    return str(image.id)


@pytest.fixture(scope="module")
def image(docker_client: Any, session_image_prefix: str) -> str:
    return build(docker_client, f"{session_image_prefix}/gateway:1")


@pytest.fixture(scope="module", autouse=True)
def functions(gateway: Gateway, image: str) -> Iterator[None]:
    gateway.deploy("/raw", image)
    gateway.deploy("/cgi", image, response="cgi")
    gateway.deploy("/one", image, concurrency=1)
    yield
    wait_until(lambda: containers(gateway) == [], 20)


def containers(gateway: Gateway) -> list[str]:
    """Containers this gateway made and did not remove yet."""
    import docker
    from django.conf import settings

    from runtime.models import Installation

    name = Installation.objects.using(gateway.alias).get().name
    client = docker.APIClient(settings.DOCKER_HOST, version="auto")
    try:
        found = client.containers(all=True, filters={"name": f"zerverless-{name}-"})
        return [row["Names"][0] for row in found]
    finally:
        client.close()


def environment(answer: Answer) -> dict[str, str]:
    lines = answer.body.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_a_function_answers(gateway: Gateway) -> None:
    answer = gateway.get("/alice/raw/x", X_Request_Id="an-id-of-mine")
    assert answer.status == 200
    assert answer.body == b"method=GET path=/x id=an-id-of-mine"
    assert answer.get("x-zerverless-function") == "alice/raw"
    assert answer.get("x-zerverless-revision") == "v1"
    assert answer.get("x-content-type-options") == "nosniff"
    assert answer.get("server-timing").startswith("queue;dur=")
    assert not answer.get("x-zerverless-error")


@pytest.mark.parametrize("size", [0, 1, 100_000, 6 << 20])
def test_a_body_goes_through(gateway: Gateway, size: int) -> None:
    """Threat 69."""
    body = b"\0x" * (size // 2) + b"y" * (size % 2)
    assert gateway.send("POST", "/alice/raw/cat", body).body == body


def test_a_chunked_body_goes_through(connect: Connect) -> None:
    wire = connect().send(
        b"POST /alice/raw/cat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert wire.read().body == b"abcde"


def test_what_a_function_sees_of_the_request(gateway: Gateway) -> None:
    """Threats 67, 68 and 82."""
    answer = gateway.get(
        "/alice/raw/env?a=%2f&b", Host="site.example", X_Forwarded_For="6.6.6.6"
    )
    seen = environment(answer)
    assert seen["REMOTE_ADDR"] == seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert seen["HTTP_HOST"] == seen["HTTP_X_FORWARDED_HOST"] == "site.example"
    assert seen["HTTP_X_FORWARDED_PREFIX"] == "/alice/raw"
    assert seen["REQUEST_URI"] == "/alice/raw/env?a=%2f&b"
    assert seen["HTTP_TRACEPARENT"].startswith("00-")


def test_the_dashboards_cookies_stay_out(gateway: Gateway) -> None:
    """Threat 63."""
    cookie = "zerverless_session=secret; mine=1; zerverless_csrf=secret"
    seen = environment(gateway.get("/alice/raw/env", Cookie=cookie))
    assert seen["HTTP_COOKIE"] == "mine=1"


@pytest.mark.parametrize(
    ("kind", "policies"),
    [
        ("html", ["img-src *", "sandbox allow-scripts allow-forms allow-popups"]),
        ("svg", ["sandbox allow-scripts allow-forms allow-popups"]),
        ("png", []),
    ],
)
def test_documents_lose_their_origin(
    gateway: Gateway, kind: str, policies: list[str]
) -> None:
    """Threat 64: in addition to the function's own policy."""
    answer = gateway.get(f"/alice/cgi/{kind}")
    assert answer.all("content-security-policy") == policies


def test_a_function_cannot_speak_for_the_platform(gateway: Gateway) -> None:
    """Threat 65."""
    answer = gateway.get("/alice/cgi/forged", X_Request_Id="an-id-of-mine")
    assert (answer.status, answer.body) == (200, b"body")
    assert answer.all("set-cookie") == ["mine=1; Path=/alice/cgi"]
    assert answer.all("x-zerverless-error") == []
    assert answer.all("x-zerverless-revision") == ["v1"]
    assert answer.all("x-request-id") == ["an-id-of-mine"]
    assert answer.is_open


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("teapot", 418, b"short and stout"), ("nothing", 204, b"")],
)
def test_statuses_of_the_function(
    gateway: Gateway, path: str, status: int, body: bytes
) -> None:
    answer = gateway.get(f"/alice/cgi/{path}")
    assert (answer.status, answer.body) == (status, body)
    assert not answer.get("x-zerverless-error")


@pytest.mark.parametrize("path", ["cgi/nul", "cgi/name", "cgi/number", "raw/fail"])
def test_an_answer_that_cannot_be_used_is_the_functions_fault(
    connect: Connect, path: str
) -> None:
    """Threats 65 and 66: and the connection goes on."""
    wire = connect().send(b"GET /alice/%b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    answer = wire.read()
    assert (answer.status, answer.get("x-zerverless-error")) == (502, "ZV502")
    wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.read().status == 200


def test_head_runs_the_function_and_drops_the_body(connect: Connect) -> None:
    """Threat 76."""
    wire = connect().send(b"HEAD /alice/raw/x HTTP/1.1\r\nHost: x\r\n\r\n")
    head = wire.read("HEAD")
    length = len(f"method=HEAD path=/x id={head.get('x-request-id')}")
    assert (head.status, head.get("content-length")) == (200, str(length))
    wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.read().body == b"ok"


def test_a_missing_image_is_said_without_naming_it(gateway: Gateway) -> None:
    """Threat 83."""
    gateway.deploy("/gone")
    answer = gateway.get("/alice/gone")
    assert answer.status == 503
    assert b"sha256" not in answer.body


def test_rows_are_written(gateway: Gateway) -> None:
    gateway.get("/alice/raw/fail?secret=1&a=b", X_Request_Id="an-id-of-mine")
    path = "/alice/raw/fail?secret=***&a=b"
    gateway.until(lambda: gateway.invocations(path=path, exit_code=3))
    row = gateway.invocations(path=path, exit_code=3)[-1]
    assert (row.status, row.error_code, row.stderr) == (502, "ZV502", "broken\n")
    assert row.duration_ms > 0
    assert row.phases["run"] > 0


def test_more_than_the_limit_is_refused_at_once(gateway: Gateway) -> None:
    """Threat 71."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(gateway.get, ["/alice/one/moment"] * 8))
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) == 7
    assert refused[0].get("retry-after") == "1"
    assert refused[0].get("x-zerverless-error") == "ZV429"
    assert gateway.get("/alice/one/x").status == 200


def test_a_busy_function_leaves_room_for_others(gateway: Gateway) -> None:
    """Threat 71: two hundred calls to one, and another still answers."""
    with ThreadPoolExecutor(200) as pool:
        calls = [pool.submit(gateway.get, "/alice/raw/moment") for _ in range(200)]
        gateway.until(lambda: gateway.get("/alice/raw/x").status == 429)
        assert gateway.get("/alice/cgi/teapot").status == 418
        statuses = {call.result().status for call in calls}
    assert statuses == {200, 429}


def test_a_client_that_leaves_stops_its_function(
    gateway: Gateway, connect: Connect
) -> None:
    """Threat 72."""
    wire = connect().send(b"GET /alice/raw/sleep HTTP/1.1\r\nHost: x\r\n\r\n")
    gateway.until(lambda: containers(gateway))
    wire.close()
    gateway.until(lambda: not containers(gateway), 5)
    gateway.until(lambda: gateway.invocations(path="/alice/raw/sleep", status=499))


def test_a_change_goes_live_without_a_failed_request(
    gateway: Gateway, docker_client: Any, session_image_prefix: str
) -> None:
    """Threat 73: a stream of requests while the live deployment moves."""
    old = build(docker_client, f"{session_image_prefix}/swap:1", 1)
    new = build(docker_client, f"{session_image_prefix}/swap:2", 2)
    gateway.deploy("/swap", old)
    stop = threading.Event()
    seen: list[tuple[int, str, str]] = []

    def ask() -> None:
        while not stop.is_set():
            answer = gateway.get("/alice/swap/env")
            revision = environment(answer).get("REVISION", "")
            seen.append((answer.status, answer.get("x-zerverless-revision"), revision))

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        gateway.until(lambda: len(seen) > 5)
        gateway.deploy("/swap", new)
        moved = len(seen)
        gateway.until(lambda: len(seen) > moved + 10)
        stop.set()
        for one in asking:
            one.result()
    assert set(seen) == {(200, "v1", "1"), (200, "v2", "2")}
    assert set(seen[-3:]) == {(200, "v2", "2")}


def test_a_change_is_routed_within_half_a_second(gateway: Gateway, image: str) -> None:
    times = []
    for number in range(5):
        deployment = gateway.deploy(f"/quick{number}", image)
        began = time.monotonic()
        gateway.retire(deployment)
        times.append(time.monotonic() - began)
    assert max(times) < 0.6
    assert gateway.get("/alice/quick0").status == 404


def test_a_request_in_flight_ends_on_the_old_deployment(
    gateway: Gateway, image: str, connect: Connect
) -> None:
    """Threat 73."""
    deployment = gateway.deploy("/inflight", image)
    wire = connect().send(b"GET /alice/inflight/moment HTTP/1.1\r\nHost: x\r\n\r\n")
    gateway.until(lambda: containers(gateway))
    gateway.retire(deployment)
    assert gateway.get("/alice/inflight/moment").status == 404
    assert wire.read().body == b"done\n"


def test_the_access_log_tells_each_request(gateway: Gateway) -> None:
    gateway.get("/alice/raw/logged?token=secret", X_Request_Id="a-logged-one")
    gateway.until(lambda: "a-logged-one" in gateway.log())
    (line,) = [line for line in gateway.log().splitlines() if "a-logged-one" in line]
    entry = json.loads(line)
    assert (entry["event"], entry["status"]) == ("request", 200)
    assert (entry["namespace"], entry["function"]) == ("alice", "/raw")
    assert "secret" not in gateway.log()
