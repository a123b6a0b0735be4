"""What is new is tried before it takes traffic, on real Git and real Docker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from applications.models import Application, Sync
from applications.work import State
from builds import build as work
from builds import engine, log
from builds.models import Build
from runtime import egress, failure, removal, routes
from runtime import engine as containers
from runtime.models import Deployment, Gateway, Installation
from tests.fixtures.functions import docker, wait_until
from tests.fixtures.git import GitServer, Repository
from zerverless_site import pipeline

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("git_allowed", "image_prefix", "nothing_left"),
]
HTTPD = "exec httpd -f -p $PORT -h /www"
HELLO = "{request: GET /, expect: {contains: hello}}"


def files(command: str, *keys: str, expose: str = "8080") -> dict[str, str]:
    """A repository with one function at /a, whose image runs `command` in a shell."""
    lines = "".join(f"      {key}\n" for key in keys)
    return {
        "zerverless.yaml": "apiVersion: zerverless.io/v1\nkind: Application\n"
        "metadata: {name: app, namespace: alice}\nspec:\n  functions:\n"
        f"    - path: /a\n      runtime: docker\n      context: a\n{lines}",
        "a/Dockerfile": "FROM busybox\nRUN mkdir /www && echo hello >/www/index.html\n"
        + (f"EXPOSE {expose}\n" if expose else "")
        + f'CMD ["sh", "-c", "{command}"]\n',
    }


@pytest.fixture
def repo(git_server: GitServer, request: pytest.FixtureRequest) -> Repository:
    name = "".join(filter(str.isalnum, request.node.name))[:60]
    return git_server.make(f"trial-{name}", files(HTTPD))


@pytest.fixture
def application(repo: Repository) -> Application:
    return Application.objects.create(namespace="alice", name="app", repo_url=repo.url)


@pytest.fixture
def nothing_left(db: None) -> Iterator[None]:
    """However a trial ends, neither its containers nor its row are there."""
    yield
    assert removal.drain()
    assert containers.list_ours(Installation.current().name) == []
    assert not Gateway.objects.exists()
    assert not Build.objects.filter(state=State.RUNNING).exists()


def push(application: Application) -> Build | None:
    """The newest build, after a sync and all it asked for."""
    sync = pipeline.request_sync(application, Sync.Trigger.MANUAL)
    pipeline.reconcile(sync.pk)
    while Build.objects.filter(state=State.QUEUED).exists():
        pipeline.run_builds()
    build: Build | None = sync.builds.select_related("function").first()
    assert build is None or build.attempt <= 1, text(build)
    return build


def live() -> Deployment:
    return Deployment.objects.live().get()


def text(build: Build) -> str:
    return "".join(log.whole(build))


# -- what passes -----------------------------------------------------------------------


def test_one_exposed_port_makes_a_server_that_is_tried(
    application: Application,
) -> None:
    build = push(application)
    assert build is not None
    assert build.state == State.SUCCEEDED, text(build)
    assert "==> Start\n" in text(build)
    assert live().config["port"] == 8080
    route, _ = routes.load().find(("alice", "a")) or (None, 0)
    assert route is not None
    assert route.is_server


def test_it_is_tried_with_the_network_it_will_have(
    application: Application, repo: Repository
) -> None:
    """What it says of its routes shows which; without them it would not listen."""
    command = "grep -q eth0 /proc/net/route && " + HTTPD
    repo.commit(files(command, "network: egress", f"checks: [{HELLO}]"))
    build = push(application)
    assert build is not None
    assert build.state == State.SUCCEEDED, text(build)
    assert live().config["network"] == "egress"
    network = egress.network_name(Installation.current().name)
    assert network not in docker("network", "ls", "--format", "{{.Name}}").split()


def test_where_there_is_no_guard_it_does_not_go_live(
    application: Application, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a kernel without nftables: said once, and not tried again and again."""
    monkeypatch.setattr(egress, "_CAPABILITIES", ["SETGID", "SETUID"])
    repo.commit(files(HTTPD, "network: egress"))
    build = push(application)
    assert build is not None
    assert (build.state, build.error_code) == (State.FAILED, "trial:start")
    assert "nftables: Operation not permitted" in build.error
    assert not Deployment.objects.live().exists()


def test_who_wants_a_way_out_and_is_no_server_does_not_go_live(
    application: Application, repo: Repository
) -> None:
    repo.commit(files("echo hello", "network: egress", expose=""))
    build = push(application)
    assert build is not None
    assert (build.state, build.error_code) == (State.FAILED, "build:network")
    assert not Deployment.objects.live().exists()


def test_any_answer_to_the_first_request_will_do(
    application: Application, repo: Repository
) -> None:
    """Threat 141: the head of an endless stream too, and lines that end in LF."""
    stream = (
        "echo HTTP/1.1 401 No; echo Content-Type: text/event-stream; echo; sleep 60"
    )
    said = f"printf '{stream}' >/tmp/say; exec nc -ll -p $PORT -e sh /tmp/say"
    repo.commit(files(said))
    build = push(application)
    assert build is not None
    assert build.state == State.SUCCEEDED, text(build)
    assert "GET /: 401 in" in text(build)


def test_a_server_goes_live_when_its_checks_pass(
    application: Application, repo: Repository
) -> None:
    keys = ("port: 3000", "checks:", f"  - {HELLO}", "  - request: HEAD /")
    missing = "  - {request: GET /missing, expect: {status: 404}}"
    repo.commit(files(HTTPD, *keys, missing, expose="80 443"))
    build = push(application)
    assert build is not None
    assert build.state == State.SUCCEEDED, text(build)
    assert live().config["port"] == 3000
    for check in ("GET /: 200 in", "HEAD /: 200 in", "GET /missing: 404 in"):
        assert check in text(build)


def test_a_function_that_runs_once_is_run_for_its_checks(
    application: Application, repo: Repository
) -> None:
    keys = ("port: none", "checks: [{request: GET /x, expect: {contains: at /x}}]")
    repo.commit(files("echo at $PATH_INFO", *keys))
    build = push(application)
    assert build is not None
    assert build.state == State.SUCCEEDED, text(build)
    assert (live().config["port"], "==> Start" in text(build)) == (None, False)


# -- what does not ---------------------------------------------------------------------

_NO = r"HTTP/1.1 503 No\\r\\nContent-Length: 0\\r\\n\\r\\n"
ONE_ANSWER = f"nc -l -p $PORT -e printf '{_NO}'; exit 6"
QUIET = ("port: none", f"checks: [{HELLO}]")
FAILURES: dict[str, tuple[dict[str, str], str, str, list[str]]] = {
    "a check gets another status": (
        files(HTTPD, "checks: [{request: GET /}, {request: GET /gone}]"),
        "trial:check",
        "Check",
        ["checks[1], GET /gone: expected status 200, got 404 with", "404 Not Found"],
    ),
    "a check misses a text": (
        files(HTTPD, "checks: [{request: GET /, expect: {contains: bye}}]"),
        "trial:check",
        "Check",
        ['checks[0], GET /: expected "bye" in the answer, got "hello"'],
    ),
    "it crashes": (
        files("echo no such table >&2; exit 3"),
        "trial:start",
        "Start",
        ["exit code 3", "no such table"],
    ),
    "it never listens": (
        files("echo thinking; sleep 60"),
        "trial:start",
        "Start",
        ["listen", "8080", "3 s", "thinking"],
    ),
    "it listens elsewhere": (
        files("echo Listening on port 5000; exec httpd -f -p 5000 -h /www"),
        "trial:start",
        "Start",
        ["8080", "5000"],
    ),
    "it ends right after it has listened": (
        files("nc -l -p $PORT -e true; echo bye >&2; exit 5"),
        "trial:start",
        "Start",
        ["gave no answer to GET /", "exit code 5", "bye"],
    ),
    "it speaks something else": (
        files("exec nc -ll -p $PORT -e echo SSH-2.0-x"),
        "trial:start",
        "Start",
        ["It listens on port 8080, but gave no answer to GET /: it broke off"],
    ),
    "it answers and ends": (
        files(ONE_ANSWER),
        "trial:start",
        "Start",
        ["GET /: 503 in", "It answered, but then: The function ended", "exit code 6"],
    ),
    "it passes its check and ends": (
        files(ONE_ANSWER, "checks: [{request: GET /, expect: {status: 503}}]"),
        "trial:start",
        "Check",
        ["GET /: 503 in", "It answered, but then: The function ended", "exit code 6"],
    ),
    "it crashes when it is asked": (
        files("nc -l -p $PORT -e true; exit 5", f"checks: [{HELLO}, {HELLO}]"),
        "trial:check",
        "Check",
        ["checks[0], GET /: expected status 200, got no answer: it ", "exit code 5."],
    ),
    "it is called and fails": (
        files("echo broken >&2; exit 4", *QUIET),
        "trial:check",
        "Check",
        ["checks[0], GET /: expected status 200, got no answer", "exit code 4"],
    ),
    "it is called and says something else": (
        files("echo good evening", *QUIET),
        "trial:check",
        "Check",
        ['expected "hello" in the answer, got "good evening"'],
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_fails_its_trial_does_not_go_live(
    application: Application, repo: Repository, settings: Any, name: str
) -> None:
    """Threat 141: an open port alone replaces nothing."""
    settings.ZERVERLESS_COLD_START_TIMEOUT = 3
    push(application)
    changed, code, step, words = FAILURES[name]
    repo.commit(changed)
    build = push(application)
    assert build is not None
    assert (build.state, build.error_code) == (State.FAILED, code), text(build)
    assert build.failed_step == step
    for word in words:
        assert word in text(build)
    assert build.error in text(build)
    assert f"==> {step}" in text(build)
    assert "<== failed" in text(build)
    assert live().number == 1
    assert (build.image_id, build.image_tag) == ("", "")


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Listening on 0.0.0.0:5000", "listens on 5000: write port: 5000"),
        ("Server running at http://127.0.0.1:3000/", "listens on 3000"),
        ("* Running on http://[::]:5000 (Press CTRL+C)", "listens on 5000"),
        ("INFO: Uvicorn running on http://0.0.0.0:8000 (Press", "listens on 8000"),
        ("ready - started server on 0.0.0.0:3000, url: http", "listens on 3000"),
        ("Listening on port 8080", ""),
        ("listening on :8080", ""),
        ("connected to db:5432", ""),
        ("Error: listen EADDRINUSE: address already in use :::8080", ""),
        ("", ""),
    ],
)
def test_what_a_server_says_gives_a_hint(said: str, hint: str) -> None:
    found = failure.elsewhere(f"starting\n{said}\nbye", 8080)
    assert hint in found
    assert bool(hint) == bool(found)


# -- no build needed -------------------------------------------------------------------


def test_changed_checks_try_the_image_that_is_there(
    application: Application, repo: Repository
) -> None:
    first = push(application)
    assert first is not None
    repo.commit(files(HTTPD, f"checks: [{HELLO}]"))
    second = push(application)
    assert second is not None
    assert (second.state, second.reused_from) == (State.SUCCEEDED, first), text(second)
    assert "==> Build" not in text(second)
    assert "GET /: 200 in" in text(second)
    assert live().build == second

    repo.commit(files(HTTPD, "checks: [{request: GET /, expect: {contains: bye}}]"))
    third = push(application)
    assert third is not None
    assert (third.state, third.error_code) == (State.FAILED, "trial:check")
    assert "==> Build" not in text(third)
    assert live().build == second
    assert engine.image(first.image_id) is not None


@pytest.mark.parametrize(
    ("keys", "port"),
    [(["port: none"], None), (["port: 3000"], 3000), (["instances: {max: 2}"], 8080)],
)
def test_changed_keys_of_a_server_need_no_build(
    application: Application, repo: Repository, keys: list[str], port: int | None
) -> None:
    first = push(application)
    repo.commit(files(HTTPD, *keys))
    second = push(application)
    assert second is not None
    assert (second.state, second.reused_from) == (State.SUCCEEDED, first), text(second)
    assert (live().build, live().config["port"]) == (second, port)
    assert push(application) is None, "the plan takes what is live for a change"


def test_the_sync_does_not_wait_for_a_trial(
    application: Application, repo: Repository
) -> None:
    push(application)
    repo.commit(files(HTTPD, f"checks: [{HELLO}]"))
    sync = pipeline.request_sync(application, Sync.Trigger.MANUAL)
    pipeline.reconcile(sync.pk)
    build = sync.builds.get()
    assert (build.state, live().number) == (State.QUEUED, 1)
    pipeline.run_builds()
    assert live().number == 2


# -- ended early -----------------------------------------------------------------------


def is_starting() -> bool:
    return bool(containers.list_ours(Installation.current().name))


def during_trial(act: Callable[[], object]) -> threading.Thread:
    """Do it, on another thread, once the instance of the trial is starting."""

    def run() -> None:
        try:
            wait_until(is_starting, 20)
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def queued(application: Application) -> Build:
    sync = pipeline.request_sync(application, Sync.Trigger.MANUAL)
    pipeline.reconcile(sync.pk)
    return sync.builds.get()


def test_a_trial_can_be_cancelled(application: Application, repo: Repository) -> None:
    push(application)
    repo.commit(files("sleep 60"))
    build = queued(application)
    thread = during_trial(lambda: work.cancel(build.pk, "ada"))
    pipeline.run_builds()
    thread.join()
    build.refresh_from_db()
    assert (build.state, build.error) == (State.CANCELLED, "Cancelled by ada.")
    assert live().number == 1


def test_a_trial_ends_with_the_time_of_its_build(
    application: Application, repo: Repository, settings: Any
) -> None:
    push(application)
    repo.commit(files("sleep 60", "checks: [{request: GET /}]", "port: none"))
    settings.DOCKER_BUILD_TIMEOUT = 5
    build = push(application)
    assert build is not None
    assert (build.state, build.error_code) == (State.FAILED, "trial:timeout")
    assert "longer than 5 seconds (DOCKER_BUILD_TIMEOUT)" in build.error
    assert live().number == 1


def test_whoever_has_lost_the_build_puts_nothing_live(
    application: Application, repo: Repository
) -> None:
    push(application)
    repo.commit(files("sleep 60"))
    build = queued(application)
    taken = Build.objects.filter(pk=build.pk)
    thread = during_trial(lambda: taken.update(lease_token="another"))
    pipeline.run_builds()
    thread.join()
    assert live().number == 1
    assert taken.update(state=State.CANCELLED) == 1, "its state was written over"
