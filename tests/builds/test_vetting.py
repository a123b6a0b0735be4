"""What a build may take from elsewhere, from a commit to its row."""

from __future__ import annotations

import pytest

from applications.work import State
from builds import vetting
from tests.builds.conftest import GOOD, Project, good, text
from tests.fixtures.rows import make_application

pytestmark = pytest.mark.django_db(transaction=True)
CMD = 'CMD ["true"]\n'


def test_a_refused_source_fails_its_build_with_its_place(project: Project) -> None:
    """Threat 121: with its place in the file, once, and before anything is made."""
    files = {"app/Dockerfile": f"FROM busybox\nADD \\\n http://127.0.0.1/ /x\n{CMD}"}
    build = project.built(files, dockerfile="app/Dockerfile", context="app")
    assert (build.state, build.error_code) == (State.FAILED, "build:source")
    assert build.error.startswith(
        "app/Dockerfile:3:2: ADD http://127.0.0.1/ is refused"
    )
    assert (build.attempt, build.image_id, build.image_tag) == (1, "", "")
    assert build.error in text(build)


def test_a_function_is_built_on_images_of_its_own_application(project: Project) -> None:
    """Threat 39: by any of its functions, and by nobody else's."""
    base = project.built(good(), "/base")
    files = {"Dockerfile": f"FROM {base.image_tag}\nRUN test -e /app/x\n{CMD}"}
    assert project.built(files, "/on-it").state == State.SUCCEEDED
    other = Project(
        make_application(name="other", repo_url=project.repo.url), project.repo
    )
    refused = other.built(files, "/theirs")
    assert (refused.state, refused.error_code) == (State.FAILED, "build:source")
    assert "own application" in refused.error


def test_cache_mounts_are_the_applications_own(project: Project) -> None:
    """Threat 50: kept for its next build, and unseen by the next application's."""
    mount = "RUN --mount=type=cache,id=shared,target=/c"
    project.built(good(Dockerfile=f"FROM busybox\n{mount} echo kept > /c/x\n{CMD}"))
    again = good(Dockerfile=f"FROM busybox\nCOPY . /a\n{mount} grep kept /c/x\n{CMD}")
    assert project.built(again, "/again").state == State.SUCCEEDED
    other = Project(
        make_application(name="other", repo_url=project.repo.url), project.repo
    )
    empty = good(Dockerfile=f"FROM busybox\nCOPY . /a\n{mount} test ! -e /c/x\n{CMD}")
    build = other.built(empty, "/theirs")
    assert build.state == State.SUCCEEDED, build.error
    spaces = {vetting.cache_of(one.application) for one in (project, other)}
    assert len(spaces) == 2


def test_a_frontend_that_might_not_keep_caches_apart_is_not_used(
    project: Project,
) -> None:
    """Threat 50: an old one, or one of which only a digest is known."""
    old = f"# syntax=docker/dockerfile:1.0-experimental\n{GOOD}"
    build = project.built(good(Dockerfile=old))
    assert build.state == State.SUCCEEDED, build.error
    assert "Using the frontend built into Docker instead" in text(build)
    assert "resolve image config" not in text(build)
