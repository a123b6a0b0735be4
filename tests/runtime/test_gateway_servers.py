"""Server functions through a real gateway: started on demand, relayed, stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.functions import docker, image_of
from tests.fixtures.gateway import Gateway, StartGateway

PROGRAM = r"""
import json, os, http.server

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size)
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "body": body.decode("latin-1"),
            "env": dict(os.environ),
            "pid": os.getpid(),
        }
        if self.path == "/exit":
            os._exit(3)
        if self.path == "/eat":
            seen["eaten"] = [bytearray(1 << 20) for _ in range(2000)]
        data = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.send_header("set-cookie", "zerverless_session=stolen")
        self.send_header("set-cookie", "own=1")
        self.send_header("x-zerverless-error", "ZV000")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *_):
        pass

place = ("", int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(place, Handler).serve_forever()
"""
DOCKERFILE = f"FROM python:3.11-slim\nCMD {json.dumps(['python', '-c', PROGRAM])}\n"


@pytest.fixture(scope="module")
def gateway(start_gateway: StartGateway) -> Gateway:
    gateway = start_gateway()
    gateway.deploy("/server", image_of(DOCKERFILE), port=8080, env={"GREETING": "hi"})
    return gateway


@pytest.fixture(scope="module", autouse=True)
def _nothing_left(gateway: Gateway) -> Iterator[None]:
    yield
    assert gateway.stop() == 0
    assert ours(gateway) == []


def ours(gateway: Gateway) -> list[str]:
    """Containers that carry the gateway's name."""
    from runtime.models import Installation

    name = Installation.objects.using(gateway.alias).get().name
    listing = docker("ps", "--all", "--format", "{{.Names}}")
    return [row for row in listing.split() if row.startswith(f"zerverless-{name}-")]


def seen(gateway: Gateway, target: str = "/alice/server", **headers: str) -> Any:
    """What the function saw of a request."""
    answer = gateway.get(target, **headers)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def test_the_first_request_starts_an_instance(gateway: Gateway) -> None:
    gateway.deploy("/first", image_of(DOCKERFILE), port=8080)
    before = set(ours(gateway))
    seen(gateway, "/alice/first")
    seen(gateway, "/alice/first")
    assert sum("-server" in name for name in set(ours(gateway)) - before) == 1


def test_its_environment(gateway: Gateway) -> None:
    env = seen(gateway)["env"]
    expected = {
        "PORT": "8080",
        "K_SERVICE": "alice-server",
        "K_REVISION": "v1",
        "ZERVERLESS_NAMESPACE": "alice",
        "ZERVERLESS_FUNCTION": "/server",
        "GREETING": "hi",
    }
    assert {name: env.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("asked", "arrives"),
    [
        ("/alice/server", "/"),
        ("/alice/server/", "/"),
        ("/alice/server?x=1&y", "/?x=1&y"),
        ("/alice/server/users/7?a=%2f", "/users/7?a=%2f"),
        ("/alice/server/a%2fb", "/a%2fb"),
        ("/%61lice/server/x%20y", "/x%20y"),
    ],
)
def test_the_prefix_is_taken_off(gateway: Gateway, asked: str, arrives: str) -> None:
    got = seen(gateway, asked)
    assert got["path"] == arrives
    assert ["x-forwarded-prefix", "/alice/server"] in got["headers"]


def test_what_is_added_and_taken_out(gateway: Gateway) -> None:
    answer = gateway.get(
        "/alice/server",
        cookie="zerverless_session=secret; theirs=1",
        x_forwarded_for="6.6.6.6",
        connection="keep-alive, x-hop",
        x_hop="1",
        x_request_id="given-by-caller",
    )
    got = dict(json.loads(answer.body)["headers"])
    assert got["cookie"] == "theirs=1"
    assert got["x-forwarded-for"] == "127.0.0.1"
    assert got["x-request-id"] == "given-by-caller"
    assert got["traceparent"].startswith("00-")
    assert "x-hop" not in got
    assert answer.all("set-cookie") == ["own=1; Path=/alice/server"]
    assert answer.get("x-zerverless-error") == ""
    assert answer.get("x-zerverless-revision") == "v1"
    assert answer.get("x-request-id") == "given-by-caller"
    assert answer.get("server-timing").startswith("queue;dur=")


def test_bodies_and_methods(gateway: Gateway) -> None:
    answer = gateway.send("POST", "/alice/server", b"abc" * 100_000)
    assert json.loads(answer.body)["body"] == "abc" * 100_000
    head = gateway.send("HEAD", "/alice/server")
    assert (head.status, head.body) == (200, b"")
    assert int(head.get("content-length")) > 0


def test_a_crash_is_an_error_and_the_next_request_works(gateway: Gateway) -> None:
    assert seen(gateway)["pid"]
    answer = gateway.get("/alice/server/exit")
    assert (answer.status, answer.get("x-zerverless-error")) == (502, "ZV502")
    # Whoever asks again on that word does not meet what is dying.
    assert b"The function ended with exit code 3." in answer.body
    assert seen(gateway)["pid"]


def test_memory_that_runs_out_is_said(gateway: Gateway) -> None:
    # One of its own: what dies twice in a minute is left alone for a moment.
    gateway.deploy("/eater", image_of(DOCKERFILE), port=8080)
    answer = gateway.get("/alice/eater/eat")
    assert (answer.status, answer.get("x-zerverless-error")) == (502, "ZV502M")
    assert b"of memory. Raise `memory` in the manifest." in answer.body
    assert seen(gateway, "/alice/eater")["pid"]


def test_many_at_once(gateway: Gateway) -> None:
    statuses: list[int] = []

    def call() -> None:
        statuses.extend(gateway.get("/alice/server").status for _ in range(20))

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 320
