"""Functions through Django: for runserver and the test client."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from applications.models import Revision
from builds.models import Build
from runtime.models import Deployment, Invocation
from tests.fixtures.rows import make_application

pytestmark = pytest.mark.usefixtures("pages")


def deploy(path: str = "/api", image: str = "", **config: Any) -> Deployment:
    application = make_application(namespace="alice")
    function = application.functions.create(namespace="alice", path=path)
    revision = Revision.objects.create(application=application, sha="a" * 40)
    build = Build.objects.create(function=function, revision=revision, key="k")
    return Deployment.objects.create(
        function=function,
        build=build,
        number=7,
        image_id=image or "sha256:" + "0" * 64,
        image_tag="tag",
        commit=revision.sha,
        config=config,
        is_live=True,
    )


@pytest.fixture
def busybox(docker_client: Any) -> str:
    return str(docker_client.images.get("busybox").id)


@pytest.fixture
def outsider() -> Client:
    """Somebody without a session, whose CSRF token is checked."""
    return Client(enforce_csrf_checks=True)


@pytest.mark.parametrize("path", ["/alice", "/alice/", "/alice/none", "/bob/api"])
def test_no_function_is_a_problem(outsider: Client, path: str) -> None:
    """Threat 83."""
    answer = outsider.get(path)
    assert (answer.status_code, answer["X-Zerverless-Error"]) == (404, "ZV404")
    assert answer["X-Request-Id"]


@pytest.mark.parametrize("path", ["/alice/api", "/alice/api/", "/alice/api/x/y"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_a_call_needs_no_token_and_no_session(
    outsider: Client, path: str, method: str
) -> None:
    """Threat 77: and no redirect loses its body."""
    deploy()
    answer = outsider.generic(method, path, b"body", "text/plain")
    assert answer.status_code == 503  # its image does not exist
    assert answer["X-Zerverless-Function"] == "alice/api"
    assert answer["X-Zerverless-Revision"] == "v7"


def test_the_dashboard_always_needs_a_token(outsider: Client) -> None:
    """Threat 77."""
    assert outsider.post("/-/login", {"username": "x"}).status_code == 403


def test_a_real_container_answers(client: Client, busybox: str) -> None:
    """Threat 64."""
    deploy(image=busybox, content_type="text/html")
    answer = client.get("/alice/api?x=1")
    # busybox runs sh, which reads its commands from an empty standard input.
    assert (answer.status_code, answer.content) == (200, b"")
    deploy("/svg", busybox, response="cgi")
    script = b"printf 'Content-Type: image/svg+xml\\nSet-Cookie: a=1; Path=/x\\n\\nhi'"
    answer = client.post("/alice/svg", script, content_type="text/plain")
    assert (answer.status_code, answer.content) == (200, b"hi")
    assert answer["Content-Security-Policy"].startswith("sandbox ")
    assert answer.cookies["a"]["path"] == "/alice/svg"
    assert Invocation.objects.get(path="/alice/svg").status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/alice/api/../../bob", 400),
        ("/alice/api/%00", 400),
        ("/alice/api/%0a", 400),
        ("/alice/api/%5c", 400),
        ("/alice//api", 404),
        ("/alice/api?" + "x" * 9000, 414),
    ],
)
def test_odd_paths(client: Client, path: str, status: int) -> None:
    """Threat 68."""
    deploy()
    assert client.get(path).status_code == status


def test_limits_and_methods(client: Client, settings: Any) -> None:
    """Threats 69 and 76."""
    deploy(methods=["POST"])
    assert client.get("/alice/api")["Allow"] == "POST"
    settings.ZERVERLESS_MAX_BODY = 10
    answer = client.post("/alice/api", b"x" * 11, content_type="text/plain")
    assert answer.status_code == 413
