"""Takes an image that was made from the same inputs instead of making another one."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import timezone

from applications.work import State
from builds import engine, images, make
from builds.engine import ImageInfo
from builds.errors import BuildEngineError
from builds.log import Writer
from builds.models import Build


@dataclass(frozen=True)
class Found:
    """An image that can be taken, and the build that made it."""

    source: Build
    image: ImageInfo


def find(build: Build) -> Found | None:
    """The newest image of the application with this key, if it still exists.

    None while the daemon is away: the build waits in line like any other.
    """
    same = Build.objects.with_image().filter(
        key=build.key, function__application=build.function.application
    )
    source: Build | None = same.select_related("revision").order_by("-pk").first()
    if source is None:
        return None
    try:
        image = engine.image(source.image_id)
    except BuildEngineError:
        return None
    return Found(source, image) if image else None


def fill(build: Build, found: Found) -> None:
    """Make an unsaved build one that has ended well, with this image."""
    build.state, build.reused_from = State.SUCCEEDED, found.source
    build.started_at = build.finished_at = timezone.now()
    build.image_tag = make.new_tag(build.function)
    build.image_id, build.image_size = found.image.id, found.image.size
    build.port = images.port_of(build, found.image)


def tag(build: Build, found: Found, log: Writer) -> bool:
    """Tag the image for a build whose row names the tag; False when it is gone."""
    try:
        engine.tag(found.image.id, build.image_tag)
    except BuildEngineError:
        return False
    short = found.source.revision.short_sha
    log.add(f"Nothing it is made of changed: reused from {short}.")
    return True


def empty(build: Build) -> None:
    """Have a build made after all whose image went while it was taken."""
    Build.objects.filter(pk=build.pk).update(
        state=State.QUEUED,
        reused_from=None,
        started_at=None,
        finished_at=None,
        image_tag="",
        image_id="",
        image_size=None,
        port=None,
    )
    build.refresh_from_db()


def take(build: Build, log: Writer) -> ImageInfo | None:
    """For a claimed build: the image to go on with, None when one has to be made."""
    found = find(build)
    if found is None:
        return None
    build.image_tag = make.new_tag(build.function)
    # Recorded before it exists, so that a killed worker leaves nothing unknown.
    Build.objects.filter(pk=build.pk).update(image_tag=build.image_tag)
    if not tag(build, found, log):
        return None
    Build.objects.filter(pk=build.pk).update(reused_from=found.source)
    return found.image
