"""The pipeline on real Git and real Docker: what a commit does, and does not."""

from __future__ import annotations

from typing import Any

import docker
import pytest
from django.utils import timezone

from applications.models import Application, Function, Sync
from applications.work import State
from builds import outcome
from builds.models import Build
from runtime.models import Deployment, Installation
from tests.fixtures.git import GitServer, Link, Repository, Submodule
from zerverless_site import follow, pipeline

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("git_allowed", "image_prefix"),
]
GOOD = 'FROM busybox\nCMD ["echo", "WORD"]\n'
BAD = "FROM busybox\nRUN exit 9\n"


def manifest(*paths: str, namespace: str = "alice", extra: str = "") -> str:
    functions = "".join(
        f"    - {{path: {path}, runtime: docker, context: .{path}, "
        f"dockerfile: .{path}/Dockerfile{extra}}}\n"
        for path in paths
    )
    return (
        "apiVersion: zerverless.io/v1\nkind: Application\n"
        f"metadata: {{name: app, namespace: {namespace}}}\n"
        f"spec:\n  functions:\n{functions}"
    )


def files(word: str = "one", **extra: Any) -> dict[str, str]:
    return {
        "zerverless.yaml": manifest("/a", **extra),
        "a/Dockerfile": GOOD.replace("WORD", word),
    }


@pytest.fixture
def repo(git_server: GitServer, request: pytest.FixtureRequest) -> Repository:
    return git_server.make(request.node.name.split("[")[0][:60], files())


@pytest.fixture
def application(repo: Repository) -> Application:
    return Application.objects.create(namespace="alice", name="app", repo_url=repo.url)


def push(application: Application) -> Sync:
    """What a poll or a click starts, run to its end in this process."""
    sync = pipeline.request_sync(application, Sync.Trigger.MANUAL)
    pipeline.reconcile(sync.pk)
    while Build.objects.filter(state=State.QUEUED).exists():
        pipeline.run_builds()
    sync.refresh_from_db()
    return sync


def live(path: str = "/a") -> Deployment | None:
    return Deployment.objects.live().filter(function__path=path).first()


def kinds(sync: Sync) -> dict[str, str]:
    return {change["path"]: change["kind"] for change in sync.plan}


def test_a_commit_becomes_a_live_deployment(
    application: Application, repo: Repository
) -> None:
    sync = push(application)
    assert (sync.state, kinds(sync)) == (State.SUCCEEDED, {"/a": "create"})
    deployment = live()
    assert deployment is not None
    assert (deployment.number, deployment.commit) == (1, repo.head)
    assert deployment.image_id == Build.objects.get().image_id
    application.refresh_from_db()
    assert (application.status, application.head_sha) == ("synced", repo.head)


def test_a_commit_that_touches_no_function_deploys_nothing(
    application: Application, repo: Repository
) -> None:
    push(application)
    repo.commit({"README.md": "hello"}, "docs")
    assert kinds(push(application)) == {"/a": "keep"}
    assert Deployment.objects.count() == 1


def test_changed_settings_reuse_the_image(
    application: Application, repo: Repository
) -> None:
    push(application)
    repo.commit(files(extra=", timeout: 7s"), "timeout")
    assert kinds(push(application)) == {"/a": "update"}
    first, second = Deployment.objects.order_by("number")
    assert first.image_id == second.image_id
    assert second.config["timeout"] == 7
    assert second.build.reused_from == first.build


def test_a_failed_function_does_not_block_its_sibling(
    application: Application, repo: Repository
) -> None:
    push(application)
    changed = {
        "zerverless.yaml": manifest("/a", "/b"),
        "a/Dockerfile": BAD,
        "b/Dockerfile": GOOD,
    }
    repo.commit(changed, "one good, one bad")
    push(application)
    assert live("/b") is not None
    serving = live("/a")
    assert serving is not None, "the failed build took down what served"
    assert serving.number == 1
    assert Build.objects.latest("pk").state in State.values
    failed = Build.objects.get(state=State.FAILED)
    assert (failed.function.path, failed.error != "") == ("/a", True)


def test_a_sync_that_finds_the_build_on_its_way_ends_as_that_build_does(
    application: Application, repo: Repository
) -> None:
    """`--wait` ended with 0, and the sync green, a second before the build failed."""
    repo.commit({**files(), "a/Dockerfile": BAD}, "broken")
    first, second = (
        pipeline.request_sync(application, Sync.Trigger.MANUAL) for _ in "12"
    )
    assert first == second, "a second request joins a queued sync"
    pipeline.reconcile(first.pk)
    second = pipeline.request_sync(application, Sync.Trigger.COMMAND)
    pipeline.reconcile(second.pk)
    second.refresh_from_db()
    assert (second.state, kinds(second)) == (State.SUCCEEDED, {"/a": "keep"})
    assert outcome.of(second).state == State.RUNNING
    with pytest.raises(follow.StillRunning):
        follow.follow(second, print, 0)
    pipeline.run_builds()
    told: list[str] = []
    assert not follow.follow(second, told.append, 60)
    assert [line for line in told if line.startswith(f"{second}: failed")]
    assert outcome.of(Sync.objects.get(pk=second.pk)).state == State.FAILED


def test_a_dockerfile_that_is_none_fails_its_function_alone(
    application: Application, repo: Repository
) -> None:
    """Threat 129: each is told with its line and column; what served goes on."""
    push(application)
    bad = {
        "/link/Dockerfile": (Link("../a/Dockerfile"), "dockerfile", "is a link"),
        "/folder/Dockerfile/x": ("x", "dockerfile", "is a directory"),
        "/module/Dockerfile": (Submodule("1" * 40), "dockerfile", "is a submodule"),
        "/gone/x": ("x", "dockerfile", 'no "gone/Dockerfile"'),
        "/nowhere": (Link("a"), "context", "is a link"),
    }
    changed = {path[1:]: content for path, (content, _, _) in bad.items()}
    paths = ["/" + path.split("/")[1] for path in bad]
    text = manifest("/a", "/b", *paths)
    repo.commit({**changed, "zerverless.yaml": text, "b/Dockerfile": GOOD}, "bad ones")
    assert push(application).state == State.SUCCEEDED
    serving = Deployment.objects.live().values_list("function__path", flat=True)
    assert sorted(serving) == ["/a", "/b"]
    lines = text.splitlines()
    for path, (_, key, words) in zip(paths, bad.values(), strict=True):
        build = Build.objects.get(function__path=path)
        row = next(n for n, line in enumerate(lines, 1) if f"path: {path}," in line)
        column = lines[row - 1].index(f"{key}: ") + len(key) + 3
        assert build.state == State.FAILED
        assert build.error.startswith(f"zerverless.yaml:{row}:{column}: spec.functions")
        assert words in build.error
    repo.commit({"a/Dockerfile": Link("../b/Dockerfile")}, "a, too")
    push(application)
    now = live("/a")
    assert now is not None, "a link took down what served"
    assert now.number == 1


def test_a_function_no_longer_declared_is_retired(
    application: Application, repo: Repository
) -> None:
    both = {"zerverless.yaml": manifest("/a", "/b"), "b/Dockerfile": GOOD}
    repo.commit(both, "two")
    push(application)
    repo.commit({"zerverless.yaml": manifest("/b")}, "one")
    assert kinds(push(application)) == {"/a": "retire", "/b": "keep"}
    assert live("/a") is None
    assert live("/b") is not None
    repo.commit({"zerverless.yaml": manifest("/a", "/b")}, "two again")
    push(application)
    returned = live("/a")
    assert returned is not None
    assert returned.number == 2, "its history was lost"


def test_a_broken_manifest_changes_nothing(
    application: Application, repo: Repository
) -> None:
    push(application)
    repo.commit({"zerverless.yaml": "functions: []\n"}, "oops")
    sync = push(application)
    assert (sync.state, sync.error_code) == (State.FAILED, "manifest:invalid")
    assert "zerverless.yaml:1:1" in sync.error
    assert live() is not None
    application.refresh_from_db()
    assert application.status == "out_of_sync"


def test_a_manifest_cannot_take_another_namespace(git_server: GitServer) -> None:
    """Threat 9."""
    theirs = git_server.make("takeover", files(namespace="bob"))
    mallory = Application.objects.create(
        namespace="mallory", name="app", repo_url=theirs.url
    )
    assert push(mallory).state == State.FAILED
    assert not Function.objects.exists()


def test_a_path_belongs_to_the_application_that_claimed_it_first(
    application: Application, git_server: GitServer
) -> None:
    """Threats 5, 9."""
    push(application)
    other = Application.objects.create(
        namespace="alice", name="other", repo_url=git_server.make("o", files()).url
    )
    sync = push(other)
    assert (sync.state, sync.error_code) == (State.FAILED, "function:claimed")
    assert "alice/app" in sync.error
    assert Function.objects.get().application == application


def test_requests_before_a_sync_starts_join_it(application: Application) -> None:
    """Threats 92, 100."""
    first = pipeline.request_sync(application, Sync.Trigger.MANUAL)
    again = pipeline.request_sync(application, Sync.Trigger.POLL)
    assert first.pk == again.pk


def test_a_redelivered_task_does_nothing(
    application: Application, repo: Repository
) -> None:
    """Threats 52, 99: the same messages again, and no second effect."""
    sync = push(application)
    for _ in range(3):
        pipeline.reconcile(sync.pk)
        pipeline.run_builds()
        pipeline.sweep()
    assert (Build.objects.count(), Deployment.objects.count()) == (1, 1)


def test_an_activation_lost_to_a_kill_is_made_up_for(
    application: Application, repo: Repository
) -> None:
    """Threat 98: killed between the build's result and its deployment."""
    push(application)
    Deployment.objects.all().delete()
    pipeline.sweep()
    assert live() is not None


def test_an_older_commit_finishing_late_does_not_replace_a_newer(
    application: Application, repo: Repository
) -> None:
    """Threats 30, 46."""
    push(application)
    repo.commit(files("two"), "two")
    push(application)
    late = Build.objects.earliest("pk")
    Deployment.objects.filter(build=late).delete()
    pipeline.sweep()
    serving = live()
    assert serving is not None
    assert serving.commit == repo.head


def test_going_live_tells_the_gateways_once(application: Application) -> None:
    before = Installation.current().routes_version
    push(application)
    assert Installation.current().routes_version == before + 1


def test_a_removed_application_is_off_the_air_at_once(
    application: Application,
) -> None:
    """Threat 117."""
    push(application)
    pipeline.remove_application(application)
    assert live() is None
    assert not Application.objects.present().exists()
    again = Application(namespace="alice", name="app", repo_url=application.repo_url)
    again.save()
    assert Application.objects.named("alice/app") == again


def test_images_of_earlier_versions_get_tags_that_nobody_can_guess(
    application: Application, docker_client: Any
) -> None:
    """Threat 39: in the first minute after an upgrade, while they serve."""
    push(application)
    serving = live()
    assert serving is not None
    old = serving.image_tag.rpartition("-")[0]
    docker_client.api.tag(serving.image_id, *old.split(":"))
    docker_client.api.remove_image(serving.image_tag)
    Build.objects.filter(pk=serving.build_id).update(image_tag=old)
    Deployment.objects.filter(pk=serving.pk).update(image_tag=old)
    pipeline.heal()
    serving.refresh_from_db()
    assert serving.image_tag.startswith(f"{old}-")
    tags = docker_client.images.get(serving.image_id).tags
    assert tags == [serving.image_tag] == [serving.build.image_tag]


@pytest.mark.newer_engine
def test_an_image_removed_behind_our_back_is_built_again(
    application: Application, docker_client: docker.DockerClient
) -> None:
    """Threats 40, 119: never pulled, always built from the commit."""
    push(application)
    first = live()
    assert first is not None
    docker_client.images.remove(first.image_id, force=True)
    pipeline.heal()
    (sync,) = Sync.objects.filter(state=State.QUEUED)
    pipeline.reconcile(sync.pk)
    pipeline.run_builds()
    second = live()
    assert second is not None
    assert second.number == 2
    assert docker_client.images.get(second.image_id).tags


def test_polling_finds_the_push(application: Application, repo: Repository) -> None:
    push(application)
    sha = repo.commit(files("polled"), "polled")
    Application.objects.update(next_poll_at=timezone.now())
    pipeline.poll_repository(Application.objects.get())
    (sync,) = Sync.objects.filter(state=State.QUEUED)
    assert sync.trigger == Sync.Trigger.POLL
    pipeline.reconcile(sync.pk)
    pipeline.run_builds()
    serving = live()
    assert serving is not None
    assert serving.commit == sha


def test_a_commit_that_fails_is_left_until_it_changes_or_somebody_asks(
    application: Application, repo: Repository
) -> None:
    """Threat 133: for whatever reason it fails."""
    for changes, reason in (
        ({"zerverless.yaml": None}, 'There is no "zerverless.yaml"'),
        ({"zerverless.yaml": Link("a/Dockerfile")}, "is a link"),
        ({"zerverless.yaml": "kind: Nonsense"}, "Nonsense"),
    ):
        sha = repo.commit(changes, "broken")
        (sync,) = polled(application)
        assert (sync.state, reason in sync.error) == (State.FAILED, True), sync.error
        assert polled(application) == polled(application) == []
        application.refresh_from_db()
        assert (application.head_sha, application.status) == (sha, "out_of_sync")
        assert reason in application.head_error
        assert application.poll_failures == 0
    assert push(application).state == State.FAILED
    repo.commit(files("mended"), "mended")
    assert [sync.state for sync in polled(application)] == [State.SUCCEEDED]
    application.refresh_from_db()
    assert (application.head_error, application.status) == ("", "synced")


def polled(application: Application) -> list[Sync]:
    """The syncs that a poll which is due starts, done."""
    Application.objects.update(next_poll_at=timezone.now())
    pipeline.poll_repository(Application.objects.get())
    started = list(application.syncs.filter(state=State.QUEUED))
    for sync in started:
        pipeline.reconcile(sync.pk)
        sync.refresh_from_db()
    return started


def test_a_server_that_fails_is_no_fault_of_the_commit(
    application: Application, repo: Repository, git_server: GitServer
) -> None:
    """Threats 132 and 133: it is tried again, with growing pauses."""
    git_server.cut_pack_at = 10
    sync = pipeline.request_sync(application, Sync.Trigger.POLL)
    try:
        pipeline.reconcile(sync.pk)
    finally:
        git_server.cut_pack_at = None
    sync.refresh_from_db()
    application.refresh_from_db()
    assert (sync.state, sync.attempt) == (State.QUEUED, 1)
    assert (application.head_sha, application.head_error) == ("", "")
    assert (application.poll_failures, application.poll_error_code) == (
        1,
        "git:network",
    )
    assert application.next_poll_at > timezone.now()
    pipeline.request_sync(application, Sync.Trigger.MANUAL)
    pipeline.reconcile(sync.pk)
    application.refresh_from_db()
    assert (application.status, application.poll_failures) == ("synced", 0)
