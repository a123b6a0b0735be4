"""Builds whose image is tried before it goes live: which, and what is left of it."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from applications.spec import Check
from applications.work import State
from builds import build as work
from builds import engine
from builds.build import Trial
from builds.errors import BuildCancelled, BuildEngineError, BuildError
from builds.log import Writer
from builds.make import Watch
from builds.models import Build
from tests.builds.conftest import Project, text

pytestmark = pytest.mark.django_db(transaction=True)
CHECKS = [{"method": "GET", "path": "/", "status": 200, "contains": ""}]


def files(*exposed: str) -> dict[str, str]:
    """A commit no other test makes, whose image exposes these ports."""
    lines = ["FROM busybox", *(f"EXPOSE {port}" for port in exposed)]
    return {
        "Dockerfile": "\n".join([*lines, f'CMD ["true", "{secrets.token_hex(8)}"]'])
    }


class Trials:
    """Takes note of what is to be tried, and lets it pass or not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.tried: list[tuple[int, str, int | None]] = []
        self.error = error

    def __call__(self, build: Build, watch: Watch, log: Writer) -> None:
        self.tried.append((build.pk, build.image_id, build.port))
        log.add("==> Start")
        if self.error:
            raise self.error


def run(trial: Trial) -> Build:
    build = work.run_next(trial)
    assert build is not None
    return build


@pytest.mark.parametrize(
    ("exposed", "spec", "port", "trials"),
    [
        ([], {}, None, 0),
        (["8080"], {}, 8080, 1),
        (["8080/udp"], {}, None, 0),
        (["80", "443"], {}, None, 0),
        (["80", "443"], {"port": 443}, 443, 1),
        (["8080"], {"port": 0}, None, 0),
        (["8080"], {"response": "cgi"}, None, 0),
        ([], {"checks": CHECKS}, None, 1),
    ],
)
def test_servers_and_whoever_has_checks_are_tried(
    project: Project,
    exposed: list[str],
    spec: dict[str, Any],
    port: int | None,
    trials: int,
) -> None:
    trial = Trials()
    requested = project.request(files(*exposed))
    requested.spec |= spec
    requested.save()
    build = run(trial)
    assert (build.state, build.port) == (State.SUCCEEDED, port), text(build)
    assert trial.tried == [(build.pk, build.image_id, port)] * trials
    kind = f"a server on {port}" if port else "one container per request"
    assert f": {kind}.\n" in text(build)


@pytest.mark.parametrize(
    ("exposed", "spec"),
    [
        ([], {}),
        (["80", "443"], {}),
        (["8080"], {"port": 0}),
        ([], {"checks": (Check("GET", "/"),)}),
    ],
)
def test_who_wants_a_way_out_and_is_no_server_is_refused(
    project: Project, exposed: list[str], spec: dict[str, Any]
) -> None:
    """Before it is tried, and with an image that was there as with a new one: it must
    not lose its network without a word."""
    commit = project.commit(files(*exposed))
    project.request_of(commit)
    kept = work.run_next()
    assert kept is not None
    trial = Trials()
    requested = project.request_of(commit, network="egress", **spec)
    assert requested.state == State.QUEUED
    build = run(trial)
    assert (build.state, build.error_code) == (State.FAILED, "build:network")
    assert build.error.startswith("network: egress is for servers")
    assert build.error in text(build)
    assert trial.tried == []
    assert build.image_tag == ""
    assert engine.image(kept.image_tag), "the image of who uses it has gone"


@pytest.mark.parametrize("port", [0, 8080])
def test_a_base_without_a_command_of_its_own_is_refused(
    project: Project, port: int
) -> None:
    """Threat 142: `FROM busybox` runs sh. A server never sees a body there."""
    trials = Trials()
    project.request({"Dockerfile": f"FROM busybox\nLABEL a={port}"}, port=port)
    build = run(trials)
    if port:
        assert (build.state, len(trials.tried)) == (State.SUCCEEDED, 1), text(build)
        return
    assert (build.state, build.error_code) == (State.FAILED, "build:image"), text(build)
    assert 'for example CMD ["sh", "run.sh"]' in build.error
    assert (build.image_tag, trials.tried) == ("", [])


def test_a_server_that_wants_a_way_out_is_tried(project: Project) -> None:
    trial = Trials()
    project.request(files("8080"), network="egress")
    assert run(trial).state == State.SUCCEEDED
    assert len(trial.tried) == 1


def test_what_has_no_effect_is_said(project: Project) -> None:
    build = project.built(files("80", "443"), min_instances=1, idle=60)
    assert 'Warning: "instances" has no effect without a port.' in text(build)
    assert 'Warning: "idle" has no effect without a port.' in text(build)


def test_an_image_that_is_there_is_tried_by_a_worker(project: Project) -> None:
    """A request is made by the control worker, which must not wait for a trial."""
    first = project.built(files("8080"))
    again = project.request_of(first.revision)
    assert (again.state, again.image_id) == (State.QUEUED, "")
    trials = Trials()
    build = run(trials)
    assert (build.state, build.reused_from) == (State.SUCCEEDED, first), text(build)
    assert (build.image_id, build.port) == (first.image_id, 8080)
    assert trials.tried == [(again.pk, first.image_id, 8080)]
    assert f"reused from {first.revision.short_sha}" in text(build)
    assert "==> Build" not in text(build)
    image = engine.image(first.image_id)
    assert image is not None
    assert {first.image_tag, build.image_tag} <= set(image.tags)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (
            BuildError("It crashed.", "trial:start", "Start"),
            State.FAILED,
            "trial:start",
        ),
        (BuildCancelled("Cancelled."), State.CANCELLED, "build:cancelled"),
        (BuildEngineError("Docker is away."), State.QUEUED, ""),
    ],
)
def test_an_image_that_did_not_pass_is_not_kept(
    project: Project,
    docker_client: Any,
    image_prefix: str,
    error: Exception,
    state: State,
    code: str,
) -> None:
    project.request(files("8080"), "/tried")
    build = run(Trials(error))
    assert (build.state, build.error_code) == (state, code)
    assert build.image_id == ""
    assert not docker_client.images.list(f"{image_prefix}/alice/tried")


def test_an_image_others_use_stays(project: Project) -> None:
    first = project.built(files("8080"))
    project.request_of(first.revision)
    build = run(Trials(BuildError("No.", "trial:check", "Check")))
    assert (build.state, build.failed_step) == (State.FAILED, "Check")
    image = engine.image(first.image_id)
    assert image is not None
    assert image.tags == (first.image_tag,)


def test_what_a_killed_trial_left_is_forgotten(project: Project) -> None:
    """Threat 98: the worker dies between the tag and the result."""
    first = project.built(files("8080"))
    project.request_of(first.revision)

    class Killed(BaseException):
        pass

    def die(build: Build, watch: Watch, log: Writer) -> None:
        raise Killed

    with pytest.raises(Killed):
        work.run_next(die)
    lost = Build.objects.get(state=State.RUNNING)
    Build.objects.release(lost.pk, lost.lease_token)
    Build.objects.update(started_at=None)
    build = run(Trials())
    assert (build.state, build.attempt) == (State.SUCCEEDED, 2)
    image = engine.image(first.image_id)
    assert image is not None
    assert set(image.tags) == {first.image_tag, build.image_tag}


def test_the_second_of_two_equal_functions_is_not_built(project: Project) -> None:
    revision = project.commit(files())
    project.request_of(revision, "/one")
    project.request_of(revision, "/two")
    one, two = run(Trials()), run(Trials())
    assert (two.image_id, two.reused_from) == (one.image_id, one)
