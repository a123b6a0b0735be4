"""`/-/…` on its way to the web process and back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.gateway import Connect, EchoServer, Gateway, StartGateway


def seen_headers(web: EchoServer) -> dict[str, str]:
    """Headers of the last request the web process got."""
    return {name.lower(): value for name, value in web.seen[-1][2]}


def test_a_request_arrives_as_it_came(gateway: Gateway, web: EchoServer) -> None:
    target = "/-/a%2fb//c?x=%00&y"
    answer = gateway.send("POST", target, b"\0body", Host="site.example:81")
    assert (answer.status, answer.body) == (200, b"\0body")
    assert web.seen[-1][:2] == ("POST", target)
    assert seen_headers(web)["host"] == "site.example:81"
    assert seen_headers(web)["x-request-id"] == answer.get("x-request-id")


def test_the_dashboards_own_cookies_and_headers_pass(
    gateway: Gateway, web: EchoServer
) -> None:
    web.scripts["/-/login/"] = lambda page: page.reply(
        302, b"", Location="/-/", Set_Cookie="zerverless_session=1; Path=/-/"
    )
    answer = gateway.get("/-/login/", Cookie="zerverless_session=0")
    assert seen_headers(web)["cookie"] == "zerverless_session=0"
    assert answer.status == 302
    assert answer.get("set-cookie") == "zerverless_session=1; Path=/-/"


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X_Forwarded_Proto",
        "X-Real-Ip",
        "Forwarded",
        "Proxy",
        "Keep-Alive",
        "TE",
        "Upgrade",
        "X-Named",
    ],
)
def test_a_client_cannot_speak_for_a_proxy(
    gateway: Gateway, web: EchoServer, name: str
) -> None:
    """Threats 67 and 82."""
    gateway.raw(
        b"GET /-/ HTTP/1.1\r\nHost: x\r\nConnection: X-Named\r\n%b: spoof\r\n\r\n"
        % name.encode()
    )
    assert "spoof" not in seen_headers(web).values()
    assert seen_headers(web)["x-forwarded-for"] == "127.0.0.1"
    assert seen_headers(web)["x-forwarded-proto"] == "http"
    assert seen_headers(web)["x-forwarded-host"] == "x"


def test_hop_by_hop_headers_end_here(gateway: Gateway, web: EchoServer) -> None:
    web.scripts["/-/"] = lambda page: page.reply(
        200, b"", Keep_Alive="x", Upgrade="h2c", X_Page="y"
    )
    answer = gateway.get("/-/")
    assert not answer.get("keep-alive") + answer.get("upgrade")
    assert answer.get("x-page") == "y"


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_statuses_pass(gateway: Gateway, web: EchoServer, status: int) -> None:
    web.scripts["/-/"] = lambda page: page.reply(status, b"")
    assert [gateway.get("/-/").status for _ in range(2)] == [status, status]


def test_head_keeps_the_connections_in_step(
    gateway: Gateway, web: EchoServer, connect: Connect
) -> None:
    """Threat 76."""
    wire = connect()
    for _ in range(3):
        wire.send(b"HEAD /-/long HTTP/1.1\r\nHost: x\r\n\r\n")
        head = wire.read("HEAD")
        assert (head.status, head.get("content-length")) == (200, "7")
        wire.send(b"GET /-/ab HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.read().body == b"/-/ab"


def test_an_answer_streams_as_it_is_written(
    gateway: Gateway, web: EchoServer, connect: Connect
) -> None:
    go_on = threading.Event()

    def page(request: Any) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"5\r\nfirst\r\n")
        assert go_on.wait(10)
        request.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")

    web.scripts["/-/log"] = page
    wire = connect().send(b"GET /-/log HTTP/1.1\r\nHost: x\r\n\r\n")
    began = b""
    while b"first" not in began:
        began += wire.socket.recv(1000)
    assert b"second" not in began
    go_on.set()
    while b"second" not in began:
        began += wire.socket.recv(1000)


def test_an_answer_that_breaks_off_is_not_passed_as_whole(
    gateway: Gateway, web: EchoServer
) -> None:
    def page(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"some")
        request.close_connection = True

    web.scripts["/-/broken"] = page
    assert gateway.get("/-/broken").status == 0
    assert gateway.get("/-/fine").status == 200


def test_a_chunked_answer_that_breaks_off_is_not_passed_as_whole(
    gateway: Gateway, web: EchoServer
) -> None:
    def page(request: Any) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"5\r\nfirst\r\n")
        request.close_connection = True

    web.scripts["/-/broken"] = page
    assert gateway.get("/-/broken").status == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"x" * (5 << 20), 200), (b"x" * (6 << 20), 200), (b"x" * (7 << 20), 413)],
)
def test_bodies_up_to_the_limit_pass(
    gateway: Gateway, web: EchoServer, body: bytes, status: int
) -> None:
    """Threat 69."""
    answer = gateway.send("POST", "/-/upload", body)
    assert answer.status == status
    assert status != 200 or answer.body == body


def test_a_body_of_unknown_length_is_refused(gateway: Gateway, web: EchoServer) -> None:
    """Threat 69: Django would take it for empty."""
    answer = gateway.raw(
        b"POST /-/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert (answer.status, answer.get("x-zerverless-error")) == (411, "ZV411")


def test_an_early_refusal_reaches_the_client(
    gateway: Gateway, web: EchoServer, connect: Connect
) -> None:
    web.scripts["/-/hook"] = lambda page: page.reply(401, b"no")
    wire = connect().send(
        b"POST /-/hook HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    )
    assert wire.read().status == 401


def test_without_a_web_process_the_dashboard_is_starting(gateway: Gateway) -> None:
    gateway.deploy("/api")
    answer = gateway.get("/-/", Accept="text/html")
    assert (answer.status, answer.get("retry-after")) == (503, "2")
    assert b"The dashboard is starting" in answer.body
    assert gateway.get("/alice/api").get("x-zerverless-function") == "alice/api"


def test_a_restarted_web_process_is_found_again(
    gateway: Gateway, web: EchoServer
) -> None:
    """Pooled connections of the old one must not spoil the first requests."""
    assert gateway.get("/-/").status == 200
    web.stop()
    assert gateway.get("/-/").status in {502, 503}
    again = EchoServer(gateway.web_socket)
    try:
        assert [gateway.get("/-/").status for _ in range(3)] == [200, 200, 200]
    finally:
        again.stop()


@pytest.fixture
def stuck(web: EchoServer) -> Iterator[None]:
    """/-/slow takes until the end of the test."""
    done = threading.Event()
    web.scripts["/-/slow"] = lambda _: done.wait(30)
    yield
    done.set()


def test_a_stuck_dashboard_does_not_hold_functions_up(
    gateway: Gateway, stuck: None, connect: Connect
) -> None:
    gateway.deploy("/api")
    slow = b"GET /-/slow HTTP/1.1\r\nHost: x\r\n\r\n"
    while gateway.get("/-/").status == 200:
        connect().send(slow)
    began = time.monotonic()
    assert gateway.get("/alice/api").get("x-zerverless-function") == "alice/api"
    assert gateway.get("/livez").status == 200
    assert time.monotonic() - began < 1


def test_a_client_that_leaves_ends_the_stream(
    gateway: Gateway, web: EchoServer, connect: Connect
) -> None:
    """Threat 72."""
    broken = threading.Event()

    def page(request: Any) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"line\n" * 100)
                time.sleep(0.01)
        except OSError:
            broken.set()
        request.close_connection = True

    web.scripts["/-/follow"] = page
    wire = connect().send(b"GET /-/follow HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.socket.recv(10)
    wire.close()
    assert broken.wait(10)


# -- with other settings --------------------------------------------------------------


def test_a_trusted_proxy_is_believed(start_gateway: StartGateway) -> None:
    """Threat 82."""
    gateway = start_gateway(ZERVERLESS_TRUSTED_PROXIES="127.0.0.0/8,10.0.0.1")
    web = EchoServer(gateway.web_socket)
    try:
        gateway.get(
            "/-/",
            X_Forwarded_For="6.6.6.6, 1.2.3.4, 10.0.0.1",
            X_Forwarded_Proto="https",
            X_Forwarded_Host="site.example",
        )
        headers = seen_headers(web)
    finally:
        web.stop()
    assert headers["x-forwarded-for"] == "1.2.3.4"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["host"] == "site.example"


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("fn.example", "/alice/api", 503),
        ("FN.example:8000", "/alice/api", 503),
        ("fn.example", "/-/", 404),
        ("fn.example", "/", 404),
        ("fn.example", "/admin/", 404),
        ("site.example", "/alice/api", 404),
        ("fn.example.evil", "/alice/api", 404),
        ("site.example", "/-/", 200),
        ("site.example", "/", 302),
        ("fn.example", "/livez", 200),
        ("site.example", "/livez", 200),
    ],
)
def test_a_functions_host_of_its_own(
    two_hosts: Gateway, host: str, path: str, status: int
) -> None:
    """Threat 64."""
    assert two_hosts.get(path, Host=host).status == status


@pytest.fixture(scope="module")
def two_hosts(start_gateway: StartGateway) -> Iterator[Gateway]:
    gateway = start_gateway(ZERVERLESS_FUNCTIONS_HOST="fn.example")
    gateway.deploy("/api")
    web = EchoServer(gateway.web_socket)
    yield gateway
    web.stop()
