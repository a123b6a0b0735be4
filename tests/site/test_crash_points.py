"""The death of a worker at each step from poll to cleanup, and what comes of it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from datetime import timedelta
from pkgutil import resolve_name
from typing import Any

import pytest
from django.utils import timezone

from applications.errors import PlatformError
from applications.models import Application, Sync
from applications.work import State
from builds import engine
from builds.models import Build
from runtime import cleanup, deploy
from runtime.models import Deployment
from tests.fixtures.functions import SDK_LEAVES_SOCKETS
from tests.fixtures.git import GitServer, Repository
from zerverless_site import pipeline

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("git_allowed", "image_prefix"),
]
MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: app, namespace: alice}
spec:
  functions:
    - path: /a
      runtime: docker
      context: .
      dockerfile: Dockerfile
      checks: [{request: GET /}]
"""


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours may take it for an error."""


def files(word: str) -> dict[str, str]:
    dockerfile = f'FROM busybox\nCMD ["echo", "{word}"]\n'
    return {"zerverless.yaml": MANIFEST, "Dockerfile": dockerfile}


@pytest.fixture
def repo(git_server: GitServer, request: pytest.FixtureRequest) -> Repository:
    name = "".join(filter(str.isalnum, request.node.name))
    return git_server.make(f"crash-{name}", files("one"))


@pytest.fixture
def application(repo: Repository) -> Application:
    """Its first commit is live."""
    made = Application.objects.create(namespace="alice", name="app", repo_url=repo.url)
    pipeline.reconcile(pipeline.request_sync(made, Sync.Trigger.MANUAL).pk)
    pipeline.run_builds()
    assert Deployment.objects.live().count() == 1
    return made


def work() -> None:
    """What the workers do with what is in line."""
    for pk in Sync.objects.filter(state=State.QUEUED).values_list("pk", flat=True):
        pipeline.reconcile(pk)
    while Build.objects.filter(state=State.QUEUED).exists():
        pipeline.run_builds()


def lapse() -> None:
    """Nobody renews the leases of the dead, and the pause of a retry goes by."""
    past = timezone.now() - timedelta(minutes=5)
    for rows in (Sync.objects, Build.objects):
        rows.filter(state=State.RUNNING).update(lease_until=past, started_at=past)


def dying(real: Callable[..., Any], when: str) -> Callable[..., Any]:
    """`real`, but the process is killed before or after it, once."""
    left = [1]

    def die() -> None:
        if left:
            left.pop()
            raise Killed

    def call(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            die()
        result = real(*args, **kwargs)
        die()
        return result

    return call


POINTS = [
    "applications.observe.read",
    "applications.observe.record",
    "applications.declare.function",
    "applications.poll.settled",
    "builds.build.request",
    "builds.build._supersede",
    "builds.make.image",
    "builds.reuse.take",
    "builds.engine.build",
    "runtime.trial.run",
    "runtime.checks.run",
    "builds.build._settle",
    "applications.work.Lease.finish",
    "runtime.deploy.activate",
    "zerverless_site.queue.hint",
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_the_commit_still_goes_live_once(
    application: Application,
    repo: Repository,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    when: str,
) -> None:
    """Threat 98."""
    before, sha = repo.head, repo.commit(files("two"), "two")
    monkeypatch.setattr(point, dying(resolve_name(point), when))
    pipeline.request_sync(application, Sync.Trigger.MANUAL)
    with pytest.raises(Killed):
        work()
    (serving,) = Deployment.objects.live()
    assert serving.commit in (before, sha)
    lapse()
    pipeline.sweep()
    work()
    assert_converged(sha)


def assert_converged(sha: str) -> None:
    (serving,) = Deployment.objects.live()
    assert serving.commit == sha
    assert not Sync.objects.active().exists()
    assert not Build.objects.active().exists()
    made = Build.objects.filter(revision__sha=sha, state=State.SUCCEEDED)
    assert made.count() == 1
    assert Deployment.objects.filter(commit=sha).count() == 1


# -- cleanup ---------------------------------------------------------------------------


@pytest.fixture
def old_images(application: Application, repo: Repository) -> list[Build]:
    """Three builds nobody needs any more, and one that serves."""
    for word in ("two", "three", "four"):
        repo.commit(files(word), word)
        pipeline.request_sync(application, Sync.Trigger.MANUAL)
        work()
    long_ago = timezone.now() - timedelta(hours=1)
    Build.objects.update(finished_at=long_ago)
    return list(Build.objects.order_by("pk"))[:3]


def exists(build: Build) -> bool:
    return engine.image(build.image_id) is not None


def recorded() -> int:
    return Build.objects.filter(image_removed_at__isnull=False).count()


@pytest.mark.parametrize("when", ["before", "after"])
def test_cleanup_killed_half_way_is_finished_by_the_next(
    old_images: list[Build], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Threat 114: rows tell only what happened, images without a row's word go too."""
    monkeypatch.setattr(engine, "remove", dying(engine.remove, when))
    with pytest.raises(Killed):
        cleanup.sweep(cleanup.survey(keep=1))
    assert recorded() == 0
    cleanup.sweep(cleanup.survey(keep=1))
    assert [exists(build) for build in old_images] == [False] * 3
    assert recorded() == 3
    (serving,) = Deployment.objects.live()
    assert exists(serving.build)


@SDK_LEAVES_SOCKETS
def test_cleanup_without_a_daemon_changes_nothing(
    old_images: list[Build], settings: Any
) -> None:
    """Threat 114: and is done once the daemon is back."""
    host, settings.DOCKER_HOST = settings.DOCKER_HOST, "unix:///nonexistent/d.sock"
    with pytest.raises(PlatformError):
        cleanup.sweep(cleanup.survey(keep=1))
    gc.collect()
    assert recorded() == 0
    settings.DOCKER_HOST = host
    cleanup.sweep(cleanup.survey(keep=1))
    assert recorded() == 3


def test_cleanup_between_a_build_and_its_deployment_spares_the_image(
    application: Application, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 111: built, not yet live."""
    repo.commit(files("two"), "two")
    activate = deploy.activate

    def late(build: Build) -> Deployment | None:
        cleanup.sweep(cleanup.survey(keep=1))
        return activate(build)

    monkeypatch.setattr(deploy, "activate", late)
    pipeline.request_sync(application, Sync.Trigger.MANUAL)
    work()
    (serving,) = Deployment.objects.live()
    assert exists(serving.build)
    assert serving.build.image_removed_at is None
