"""A host name for each namespace: what answers there, and what a function sees."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.fixtures.conformance import Front, deploy_once, deploy_scripted
from tests.fixtures.gateway import Gateway, StartGateway
from tests.fixtures.raw_http import RawAnswer

OWN = b"alice.fn.example"


@pytest.fixture(scope="module")
def front(start_gateway: StartGateway) -> Iterator[Front]:
    gateway = start_gateway(
        ZERVERLESS_FUNCTIONS_HOST="*.fn.example",
        ZERVERLESS_BASE_URL="https://site.example",
        ZERVERLESS_TRUSTED_PROXIES="127.0.0.1",
    )
    deploy_scripted(gateway)
    deploy_once(gateway)
    gateway.deploy("/livez")
    gateway.deploy("/", namespace="carol")
    yield Front("direct", gateway.port, gateway)
    assert gateway.stop() == 0


@pytest.fixture
def gateway(front: Front) -> Gateway:
    return front.gateway


@pytest.mark.parametrize(
    ("host", "path", "function"),
    [
        ("alice.fn.example", "/once", "alice/once"),
        ("ALICE.fn.example.:8000", "/once/x", "alice/once"),
        ("alice.fn.example", "/onc", None),
        ("alice.fn.example", "/", None),
        ("alice.fn.example", "/-/", None),
        ("alice.fn.example", "/-/login", None),
        ("alice.fn.example", "/admin", None),
        ("alice.fn.example", "/metrics", None),
        ("alice.fn.example", "/readyz", None),
        ("alice.fn.example", "/robots.txt", None),
        ("alice.fn.example", "/livez", "alice/livez"),
        ("alice.fn.example", "/alice/once", None),
        ("alice.fn.example", "/carol/x", None),
        ("carol.fn.example", "/", "carol/"),
        ("carol.fn.example", "/-/x", "carol/"),
        ("carol.fn.example", "/metrics", "carol/"),
        ("carol.fn.example", "/once", "carol/"),
        ("nobody.fn.example", "/once", None),
        ("a.alice.fn.example", "/once", None),
        (".fn.example", "/once", None),
        ("fn.example", "/alice/once", None),
        ("site.example", "/alice/once", None),
        ("alice.localhost", "/once", None),
    ],
)
def test_a_path_belongs_to_the_namespace_of_its_host(
    gateway: Gateway, host: str, path: str, function: str | None
) -> None:
    """Threat 137: never the dashboard, another namespace, or a probe of ours."""
    answer = gateway.get(path, Host=host)
    assert answer.status == (503 if function else 404)  # there is no image
    assert answer.get("x-zerverless-function") == (function or "")


def ask(front: Front, path: bytes, host: bytes = OWN, lines: bytes = b"") -> RawAnswer:
    request = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (path, host, lines)
    return front.ask(request)


@pytest.mark.parametrize("asked", [b"/server/x?q=1", b"http://%b/server/x?q=1" % OWN])
def test_a_server_sees_its_path_on_its_own_host(front: Front, asked: bytes) -> None:
    for _ in range(2):  # with a start, and at once
        answer = ask(front, asked, lines=b"Cookie: a=b; zerverless_session=1\r\n")
        assert answer.status == 200
        lines = answer.request.split(b"\r\n")
        assert lines[0] == b"GET /x?q=1 HTTP/1.1"
        assert {b"x-forwarded-prefix: /server", b"host: " + OWN} <= set(lines)
        assert b"cookie: a=b" in lines


def test_one_that_runs_once_sees_its_path_on_its_own_host(front: Front) -> None:
    seen = ask(front, b"/env/x%20y").body.decode().splitlines()
    assert {"SCRIPT_NAME=/env", "PATH_INFO=/x y", "REQUEST_URI=/env/x%20y"} <= set(seen)
    assert "HTTP_X_FORWARDED_PREFIX=/env" in seen


def test_the_host_a_trusted_proxy_names_counts(front: Front) -> None:
    """Threats 82 and 137."""
    asked = b"X-Forwarded-Host: %b\r\n" % OWN
    assert ask(front, b"/server", b"inner", asked).status == 200
    asked = b"X-Forwarded-Host: site.example\r\n"
    assert ask(front, b"/server", OWN, asked).status == 404


def test_an_answer_may_do_there_what_it_likes_with_its_own_origin(
    front: Front,
) -> None:
    """Threats 136 and 137: no sandbox, any path; but no cookie for other hosts."""
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n"
        "Set-Cookie: a=b; Path=/; Domain=fn.example\r\n"
        "Set-Cookie: zerverless_session=1\r\n\r\n"
    )
    script = json.dumps([["send", head]]).encode()
    front.gateway.send("PUT", "/server/script/own", script, Host=OWN.decode())
    answer = ask(front, b"/server/run/own")
    assert answer.status == 200
    assert answer.all(b"content-security-policy") == []
    assert answer.all(b"set-cookie") == [b"a=b; Path=/"]
