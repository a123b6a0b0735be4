"""What the gateway does with paths, methods, bodies and framing, byte for byte."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress

import pytest

from tests.fixtures.gateway import Answer, Connect, Gateway

MAX_BODY = 6 << 20


@pytest.fixture(scope="module", autouse=True)
def functions(gateway: Gateway) -> None:
    """Two tenants. Their images do not exist: a request that arrives gets 503."""
    gateway.deploy("/api")
    gateway.deploy("/api/v1")
    gateway.deploy("/api", namespace="bob")
    gateway.deploy("/post", methods=["POST"])
    gateway.deploy("/", namespace="carol")


def reached(answer: Answer) -> str:
    return answer.get("x-zerverless-function")


@pytest.mark.parametrize(
    ("path", "function"),
    [
        (b"/alice/api", "alice/api"),
        (b"/alice/api?x=%00%2f..", "alice/api"),
        (b"/alice/api/", "alice/api"),
        (b"/alice/api/x/y", "alice/api"),
        (b"/alice/api/v1", "alice/api/v1"),
        (b"/alice/api/v1/x", "alice/api/v1"),
        (b"/alice/api/v10", "alice/api"),
        (b"/alice/api//v1", "alice/api"),
        (b"/alice/api%2fv1", ""),
        (b"/%61lice/api", "alice/api"),
        (b"/bob/api", "bob/api"),
        (b"/carol", "carol/"),
        (b"/carol/", "carol/"),
        (b"/carol/x", "carol/"),
        (b"/alice/api/a%2fb%20%C3%A9", "alice/api"),
        (b"/alice/api/...", "alice/api"),
    ],
)
def test_the_longest_path_wins(gateway: Gateway, path: bytes, function: str) -> None:
    """Threat 68."""
    answer = gateway.raw(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
    assert reached(answer) == function
    assert answer.status == (503 if function else 404)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"//alice/api", 404),
        (b"/alice//api", 404),
        (b"/alice%2fapi", 404),
        (b"/Alice/api", 404),
        (b"/alice/apix", 404),
        (b"/alice", 404),
        (b"/dave/api", 404),
        (b"/%2d/admin/", 404),
        (b"/alice/../bob/api", 400),
        (b"/alice/%2e%2e/bob/api", 400),
        (b"/alice/.%2E/bob/api", 400),
        (b"/alice/api/./x", 400),
        (b"/alice/api/..%2f..%2fx", 400),
        (b"/-/%2e%2e/alice/api", 400),
        (b"/alice/api/%00", 400),
        (b"/alice/api/%0a", 400),
        (b"/alice/api/%0D%0A", 400),
        (b"/alice/api/%7f", 400),
        (b"/alice\\api", 400),
        (b"/alice/api/%5c", 400),
        (b"/alice/api/%ff%fe", 400),
        (b"/alice/api/%c0%af", 400),
        (b"/alice/api/%zz", 400),
        (b"/alice/api/%", 400),
        ("/alice/api/é".encode(), 400),
        (b"*", 400),
        (b"/" + b"a" * 8192, 414),
        (b"/alice/api?" + b"a" * 8192, 414),
        (b"/" + b"a" * 100_000, 414),
    ],
)
def test_a_path_in_disguise_reaches_nobody(
    gateway: Gateway, path: bytes, status: int
) -> None:
    """Threat 68."""
    method = b"OPTIONS" if path == b"*" else b"GET"
    answer = gateway.raw(b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path))
    assert (answer.status, reached(answer)) == (status, "")


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("GET", 503),
        ("HEAD", 503),
        ("POST", 503),
        ("PUT", 503),
        ("PATCH", 503),
        ("DELETE", 503),
        ("OPTIONS", 503),
        ("TRACE", 405),
        ("BREW", 405),
        ("get", 405),
        ("CONNECT", 405),
    ],
)
def test_methods(gateway: Gateway, method: str, status: int) -> None:
    """Threat 76: the functions get the first seven."""
    answer = gateway.send(method, "/alice/api")
    assert answer.status == status
    if answer.status == 405:
        assert "OPTIONS" in answer.get("allow")


def test_the_manifest_limits_the_methods(gateway: Gateway) -> None:
    """Threat 76."""
    answer = gateway.get("/alice/post", X_HTTP_Method_Override="POST")
    assert answer.status == 405
    assert answer.get("allow") == "POST"
    assert gateway.send("POST", "/alice/post", b"").status == 503


def test_head_has_no_body(connect: Connect) -> None:
    """Threat 76: the connection stays in step for the next request."""
    wire = connect().send(b"HEAD /alice/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    head = wire.read("HEAD")
    wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (head.status, wire.read().body) == (404, b"ok")


POST = b"POST /alice/api HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: -1\r\n\r\n", 400),
        (b"Content-Length: abc\r\n\r\n", 400),
        (b"Content-Length: +3\r\n\r\nabc", 400),
        (b"Content-Length: 3, 3\r\n\r\nabc", 400),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (b"Content-Length: 99999999999999999\r\n\r\n", 413),
        (b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"X: a\r\n b\r\n\r\n", 400),
        (b"X : a\r\n\r\n", 400),
        (b"X: a\0b\r\n\r\n", 400),
        (b"Host: y\r\n\r\n", 400),
        (b"X: %b\r\n\r\n" % (b"a" * 40_000), 431),
    ],
)
def test_framing_that_could_be_read_two_ways_is_refused(
    gateway: Gateway, head: bytes, status: int
) -> None:
    """Threats 67 and 69."""
    answer = gateway.raw(POST + head)
    assert (answer.status, reached(answer)) == (status, "")


@pytest.mark.parametrize(
    "host", [b"", b"Host:\r\n", b"Host: a/b\r\n", b"Host: a b\r\n"]
)
def test_a_host_is_needed(gateway: Gateway, host: bytes) -> None:
    """Threat 82."""
    assert gateway.raw(b"GET /alice/api HTTP/1.1\r\n" + host + b"\r\n").status == 400


def test_a_length_beside_chunks_ends_the_connection(connect: Connect) -> None:
    """Threat 67: chunks win, as RFC 9112 section 6.1 allows, and the rest is not read
    as a second request."""
    wire = connect().send(
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert wire.read().get("connection") == "close"
    assert wire.read().status == 0


def test_chunks_are_counted(connect: Connect) -> None:
    """Threat 69."""
    wire = connect().send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with suppress(OSError):  # refused before all of it was sent
        for _ in range(8):
            wire.send(chunk)
    assert wire.read().status in {413, 0}


def test_a_large_body_is_refused_before_it_is_sent(gateway: Gateway) -> None:
    """Threat 69."""
    answer = gateway.raw(POST + b"Content-Length: 104857600\r\n\r\n")
    assert answer.status == 413
    assert answer.get("x-zerverless-error") == "ZV413"


def test_an_unread_body_is_not_taken_for_a_request(connect: Connect) -> None:
    """Threat 67."""
    inner = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /no/function HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    wire = connect().send(head % len(inner))
    assert wire.read().status == 404
    with suppress(OSError):
        wire.send(inner)
    assert wire.read().status == 0


def test_expect_continue(connect: Connect) -> None:
    """Threat 76."""
    wire = connect().send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert wire.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.send(b"abc").read().status == 503


def test_expect_continue_for_a_body_nobody_wants(gateway: Gateway) -> None:
    """Threat 76."""
    answer = gateway.raw(
        b"POST /alice/none HTTP/1.1\r\nHost: x\r\n"
        b"Expect: 100-continue\r\nContent-Length: 300\r\n\r\n"
    )
    assert answer.status == 404


def test_a_body_that_ends_early_is_refused(connect: Connect) -> None:
    """Threat 69."""
    wire = connect().send(POST + b"Content-Length: 10\r\n\r\nabc")
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.read().status == 400


def test_a_malformed_chunk_is_refused(connect: Connect) -> None:
    """Threat 67."""
    wire = connect().send(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello")
    assert wire.read().status == 400


def test_errors_say_nothing_about_what_is_inside(gateway: Gateway) -> None:
    """Threat 83: an unknown tenant looks like an unknown function."""
    unknown = [
        gateway.get(path) for path in ("/dave/api", "/alice/none", "/favicon.ico")
    ]
    details = {json.loads(answer.body)["detail"] for answer in unknown}
    assert len(details) == 1
    text = gateway.get("/alice/api").body.decode()
    assert not [
        word for word in ("sha256", "docker", "Traceback", "/tmp") if word in text
    ]


def test_pages_for_people(gateway: Gateway) -> None:
    answer = gateway.get("/alice/none", Accept="text/html,*/*;q=0.8")
    assert answer.get("content-type") == "text/html; charset=utf-8"
    assert b"ZV404" in answer.body


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abcdefgh", 1), ("short", 0), ("a" * 129, 0), ("a b<script>", 0)],
)
def test_a_request_id_is_on_every_answer(
    gateway: Gateway, given: str, kept: int
) -> None:
    for path in ("/alice/none", "/alice/..", "/"):
        (found,) = gateway.get(path, X_Request_Id=given).all("x-request-id")
        assert (found == given) == bool(kept)
        assert len(found) >= 8


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/", 302, "/-/"),
        ("/-", 302, "/-/"),
        ("/admin", 302, "/-/admin/"),
        ("/admin/auth/user/?q=1", 302, "/-/admin/auth/user/?q=1"),
        ("/livez", 200, ""),
        ("/healthz/", 200, ""),
        ("/readyz", 200, ""),
        ("/robots.txt", 200, ""),
        ("/favicon.ico", 404, ""),
        ("/metrics", 401, ""),
        ("/.well-known/security.txt", 404, ""),
    ],
)
def test_reserved_paths(
    gateway: Gateway, path: str, status: int, location: str
) -> None:
    answer = gateway.get(path)
    assert (answer.status, answer.get("location")) == (status, location)


def test_readiness_names_every_check(gateway: Gateway) -> None:
    checks = json.loads(gateway.get("/readyz").body)["checks"]
    assert checks["database"] == checks["migrations"] == checks["routes"] == "ok"
    assert checks["worker"] == "silent"
    assert set(checks) == {"database", "migrations", "routes", "worker", "docker"}


def test_slow_connections_do_not_stop_the_others(
    gateway: Gateway, connect: Connect
) -> None:
    """Threat 70."""
    for _ in range(200):
        connect().send(b"POST /alice/api HTTP/1.1\r\nHo")
    for _ in range(50):
        connect().send(POST + b"Content-Length: 9\r\n\r\n")
    began = time.monotonic()
    assert gateway.get("/livez").status == 200
    assert reached(gateway.get("/alice/api")) == "alice/api"
    assert time.monotonic() - began < 2
