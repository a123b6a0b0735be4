"""Credentials of a namespace: whose builds get them, and what strangers do not."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from docker.errors import ImageNotFound

from applications.work import State
from builds import credentials
from builds.client import Login
from builds.log import Writer, writing
from builds.models import Build, RegistryCredential
from tests.builds.conftest import Project, make_build, text
from tests.fixtures.git import Repository
from tests.fixtures.registry import ALICE, PrivateRegistry
from tests.fixtures.rows import make_application

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def log() -> Any:
    with writing(make_build().pk) as writer:
        yield writer


def test_a_build_gets_its_namespaces_credentials_and_everybodys(log: Writer) -> None:
    """Threat 150."""
    credentials.store("r.example", "", "all", "a")
    credentials.store("r.example", "alice", "alice", "b")
    credentials.store("other.example:5000", "", "all", "c")
    credentials.store("other.example:5000", "bob", "bob", "d")
    assert set(credentials.of("alice", log).logins) == {
        Login("r.example", "alice", "b", "alice"),
        Login("other.example:5000", "all", "c"),
    }
    others = credentials.of("mallory", log)
    assert {login.password for login in others.logins} == {"a", "c"}
    assert others.guarded == {"r.example", "other.example:5000"}


def test_a_second_one_takes_the_place_of_the_first() -> None:
    for password in ("one", "two"):
        credentials.store("r.example", "alice", "alice", password)
    row = RegistryCredential.objects.get()
    assert row.password == "two"
    assert "two" not in row.encrypted_password


def test_what_cannot_be_decrypted_is_left_out_and_said(
    log: Writer, settings: Any
) -> None:
    credentials.store("r.example", "", "all", "lost")
    settings.ENCRYPTION_KEYS = ["another"]
    credentials.store("s.example", "", "all", "kept")
    (left,) = credentials.of("alice", log).logins
    assert left.host == "s.example"


@dataclass
class Scene:
    """Two tenants; the first has credentials, and has built on a private image."""

    alice: Project
    mallory: Project
    name: str
    digest: str

    def attempt(self, project: Project, *lines: str) -> Build:
        """A build of a Dockerfile that says what is in the private image."""
        show = f"RUN cat /secret.txt /x; : {secrets.token_hex(4)}"  # not cached
        body = "\n".join([*lines, show, 'CMD ["true"]', ""])
        return project.built({"Dockerfile": body})


@pytest.fixture
def scene(
    registry: PrivateRegistry,
    docker_client: Any,
    make_repo: Callable[..., Repository],
    image_prefix: str,
) -> Iterator[Scene]:
    repository = f"team/{secrets.token_hex(4)}"
    secret = f"for alice only {repository}"
    digest = registry.push(docker_client, repository, secret, image_prefix)
    credentials.store(registry.host, "alice", "alice", ALICE)
    alice, mallory = (
        Project(make_application(namespace=name, repo_url=repo.url), repo)
        for name, repo in (
            ("alice", make_repo("alice")),
            ("mallory", make_repo("mallory")),
        )
    )
    made = Scene(alice, mallory, f"{registry.host}/{repository}", digest)
    yield made
    with contextlib.suppress(ImageNotFound):
        docker_client.images.remove(f"{made.name}:1", force=True)


def test_a_private_parent_is_for_who_has_credentials(scene: Scene) -> None:
    """Threats 150 to 152: a stranger knows every name, and all of it is on the host."""
    mine = scene.attempt(scene.alice, f"FROM {scene.name}:1")
    assert (mine.state, mine.error) == (State.SUCCEEDED, "")
    assert f"for alice only {scene.name.partition('/')[2]}" in text(mine)
    by_digest = scene.attempt(scene.alice, f"FROM {scene.name}@{scene.digest}")
    assert by_digest.state == State.SUCCEEDED
    elsewhere = f"127.0.0.1:1/{scene.name.partition('/')[2]}@{scene.digest}"
    half = scene.digest.removeprefix("sha256:")
    attempts = [
        [f"FROM {scene.name}:1"],
        [f"FROM {scene.name}@{scene.digest}"],
        [f"FROM {scene.name}:1@{scene.digest}"],
        [f"FROM {elsewhere}"],
        [f"FROM {scene.name.replace('127.0.0.1', 'localhost')}:1"],
        ["ARG A=sha2", f"FROM {scene.name}@${{A}}56:{half}"],
        ["FROM busybox", f"COPY --from={scene.name}:1 /secret.txt /x"],
        ["FROM busybox", f"COPY --from={scene.name}@{scene.digest} /secret.txt /x"],
        [
            "FROM busybox",
            f"RUN --mount=from={scene.name}@{scene.digest},target=/m true",
        ],
    ]
    for lines in attempts:
        build = scene.attempt(scene.mallory, *lines)
        assert build.state != State.SUCCEEDED, lines
        assert "for alice only" not in text(build), lines
        if scene.name in lines[-1]:
            assert build.error_code == "build:parent", lines
            assert "none for namespace mallory, nor for all" in build.error
    credentials.store(scene.name.partition("/")[0], "mallory", "mallory", "guessed-it")
    build = scene.attempt(scene.mallory, f"FROM {scene.name}:1")
    assert "to mallory, whose credentials are those of namespace mallory" in build.error
    everything = text(build) + build.error + text(mine)
    assert not [word for word in (ALICE, "guessed-it") if word in everything]


def test_credentials_that_went_leave_no_door_open(scene: Scene) -> None:
    """Threat 150."""
    assert scene.attempt(scene.alice, f"FROM {scene.name}:1").state == State.SUCCEEDED
    RegistryCredential.objects.all().delete()
    for project in (scene.mallory, scene.alice):
        build = scene.attempt(project, f"FROM {scene.name}@{scene.digest}")
        assert build.error_code == "build:parent"


def test_a_registry_that_is_away_is_ours_and_what_was_made_here_needs_none(
    project: Project, docker_client: Any, image_prefix: str
) -> None:
    """Threats 51 and 152."""
    credentials.store("127.0.0.1:1", "", "anybody", "any-word")
    build = project.built({"Dockerfile": 'FROM 127.0.0.1:1/x:1\nCMD ["true"]\n'})
    assert build.state == State.QUEUED  # tried again
    assert "The registry of 127.0.0.1:1/x:1 cannot be asked" in text(build)
    made = f"127.0.0.1:1/{image_prefix}:1"
    docker_client.images.get("busybox").tag(made)
    build = project.built({"Dockerfile": f'FROM {made}\nCMD ["true"]\n'}, "/b")
    docker_client.images.remove(made)
    assert build.state == State.SUCCEEDED, build.error
