"""The end of an image: ours go, whatever else is on the daemon stays."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest

from applications.work import State
from builds import engine, images
from builds.models import Build
from tests.builds.conftest import Maker, Project, good

pytestmark = pytest.mark.django_db(transaction=True)


def is_there(build: Build) -> bool:
    image = engine.image(build.image_id)
    return image is not None and build.image_tag in image.tags


def is_recorded_as_removed(build: Build) -> bool:
    build.refresh_from_db()
    return build.image_removed_at is not None


@pytest.mark.newer_engine
def test_only_the_given_images_go(project: Project) -> None:
    """Threat 112."""
    keep, drop = project.built(good()), project.built(good())
    images.prune([drop])
    assert is_there(keep)
    assert not is_recorded_as_removed(keep)
    assert engine.image(drop.image_id) is None
    assert is_recorded_as_removed(drop)


@pytest.mark.newer_engine
def test_a_shared_image_stays_until_its_last_build_goes(project: Project) -> None:
    """Threat 120."""
    first = project.built(good())
    second = project.request_of(first.revision)
    images.prune([first])
    assert not is_there(first)
    assert is_there(second)
    assert images.prune([second]) == first.image_size
    assert engine.image(first.image_id) is None


@pytest.mark.newer_engine
def test_an_image_in_use_stays_for_the_next_time(
    project: Project, docker_client: Any
) -> None:
    """Threat 111."""
    build = project.built(good())
    container = docker_client.containers.create(build.image_id)
    try:
        assert images.prune([build]) == 0
        assert is_there(build)
        assert not is_recorded_as_removed(build)
    finally:
        container.remove()
    images.prune([build])
    assert engine.image(build.image_id) is None


@pytest.mark.newer_engine
def test_a_tag_that_moved_is_left_alone(
    project: Project, make_image: Maker, docker_client: Any
) -> None:
    """Threats 53 and 112: the name now belongs to an image we did not record."""
    build = project.built(good())
    other = make_image(f"FROM busybox\nLABEL other={secrets.token_hex(8)}\nCMD true\n")
    engine.tag(other.id, build.image_tag)
    images.prune([build])
    moved = engine.image(build.image_tag)
    assert moved is not None
    assert moved.id == other.id
    assert engine.image(build.image_id) is None
    assert is_recorded_as_removed(build)


def test_forged_labels_do_not_steer_it(make_image: Maker, project: Project) -> None:
    """Threats 48 and 112."""
    build = project.built(good())
    forged = make_image(
        f"FROM busybox\nLABEL zerverless.build={build.pk}\nCMD true\n", labels={}
    )
    images.prune([build])
    assert engine.image(forged.id) is not None


def test_an_image_of_a_superseded_build_goes_with_the_next_cleanup(
    project: Project,
) -> None:
    """Threat 128: the daemon had set the tag when the build was stopped."""
    build = project.built(good())
    Build.objects.update(state=State.CANCELLED, image_id="", image_size=None)
    images.prune([])
    assert engine.image(build.image_id) is None
    build.refresh_from_db()
    assert build.image_tag == ""


def test_it_can_be_repeated(project: Project) -> None:
    """Threat 114: the image went, the row did not learn of it."""
    build = project.built(good())
    engine.remove(build.image_tag, build.image_id)
    assert images.prune([build]) == 0
    assert is_recorded_as_removed(build)


def test_tags_of_earlier_versions_are_replaced_by_what_nobody_can_guess(
    project: Project,
) -> None:
    """Threat 39: the image stays, and so does one that is not ours. Killed between any
    two steps it converges."""
    build, again, strange = (project.built(good()) for _ in range(3))
    name = build.image_tag.rpartition(":")[0]
    for number, row in enumerate((build, again, strange)):
        old = f"{name}:2026010203040{number}"
        engine.tag(row.image_id, old)
        engine.untag(row.image_tag)
        row.image_tag = old
    Build.objects.filter(pk=build.pk).update(image_tag=build.image_tag)
    # Killed after the row knew of the new tag, which the image does not have yet.
    Build.objects.filter(pk=again.pk).update(image_tag=f"{again.image_tag}-5ec2e7")
    Build.objects.filter(pk=strange.pk).update(image_tag=f"{name}:another")
    images.hide_tags()
    for row in (build, again):
        assert engine.image(row.image_tag) is None
        row.refresh_from_db()
        assert is_there(row)
    assert re.fullmatch(rf"{name}:20260102030400-[0-9a-f]{{20}}", build.image_tag)
    assert engine.image(strange.image_tag) is not None, "not ours by its row"
    engine.untag(strange.image_tag)
