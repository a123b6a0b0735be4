"""The names, labels and end of the images we build."""

from __future__ import annotations

import hashlib
import logging
import posixpath
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.crypto import salted_hmac

from applications.spec import FunctionSpec
from applications.work import State
from builds import engine, volumes
from builds.engine import ImageInfo
from builds.errors import BuildEngineError, BuildError
from builds.models import Build

ENV_MAX = 64 * 1024
NAME_MAX = 219  # with ":" and a version an image reference has at most 255 characters
RANDOM_BYTES = 10  # of a tag: enough that nobody finds one by trying

# One path component of a Docker reference (distribution/reference, reference.go).
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PLAIN = re.compile(rf"\A(?:/{_COMPONENT})+\Z")
# What we append to a name that had to be changed; a plain name ending like this is
# changed as well, so that nobody can choose a path that gives another one's name.
_DIGEST = re.compile(r"-z[0-9a-f]{12}\Z")


# How earlier versions tagged an image: by the second, with a suffix within one.
_GUESSABLE = re.compile(r":[0-9]{14}(?:-[0-9]{1,9})?\Z")

log = logging.getLogger(__name__)


def tag_for(namespace: str, path: str, when: datetime) -> str:
    """A tag no image ever had: `zerverless/alice/api:20260102030405-<20 hex digits>`.

    The time is in UTC. The random digits keep the images of an application from others:
    on one Docker host whoever knows a tag can build on the image. Different functions
    have different names: where Docker refuses the plain name, or two functions could
    share it, a short digest of the path is part of it.
    """
    secret = secrets.token_hex(RANDOM_BYTES)
    return f"{name_of(namespace, path)}:{when.astimezone(UTC):%Y%m%d%H%M%S}-{secret}"


def name_of(namespace: str, path: str) -> str:
    """The repository of a function's images: their tags without the version."""
    prefix = f"{settings.DOCKER_IMAGE_PREFIX}/{namespace}"
    name = f"{prefix}{path}"
    if not _PLAIN.match(path) or _DIGEST.search(path) or len(name) > NAME_MAX:
        digest = hashlib.sha256(path.encode()).hexdigest()[:12]
        slug = re.sub(r"[^a-z0-9]+", "-", path).strip("-")[:40].strip("-") or "root"
        name = f"{prefix}/{slug}-z{digest}"
    return name


def hide_tags() -> None:
    """Replace the tags of earlier versions, which told only the time and were guessed.

    Safe to repeat and to be killed half-way; without Docker there is a next time.
    """
    try:
        for tag, image_id in engine.tags().items():
            if _GUESSABLE.search(tag):
                _hide(tag, image_id)
    except BuildEngineError as error:
        log.warning("tags that can be guessed stay for now: %s", error)


def _hide(tag: str, image_id: str) -> None:
    """The row first: it must know the new tag before the image has it."""
    builds = Build.objects.with_image().filter(image_id=image_id)
    secret = secrets.token_hex(RANDOM_BYTES)
    builds.filter(image_tag=tag).update(image_tag=f"{tag}-{secret}")
    known = builds.filter(image_tag__startswith=f"{tag}-")
    for build in known:
        engine.tag(image_id, build.image_tag)
    if known:
        engine.untag(tag)


def labels_for(build: Build) -> dict[str, str]:
    """What the image says about itself; for people, we never decide by labels."""
    revision = build.revision
    return {
        "org.opencontainers.image.revision": revision.sha,
        "org.opencontainers.image.source": revision.application.repo_url,
        "org.opencontainers.image.created": timezone.now().isoformat(),
        "zerverless.namespace": build.function.namespace,
        "zerverless.function": build.function.path,
        "zerverless.commit": revision.sha,
        "zerverless.build": str(build.pk),
        "zerverless.installation": installation(),
    }


def installation() -> str:
    """A short name of this installation that tells nothing about its key."""
    return salted_hmac("zerverless.installation", "image").hexdigest()[:12]


def exposed_ports(image: ImageInfo) -> tuple[int, ...]:
    """The TCP ports an image EXPOSEs, in order."""
    matches = (
        re.fullmatch(r"([0-9]{1,5})(?:/tcp)?", name)
        for name in image.config.get("ExposedPorts") or ()
    )
    return tuple(sorted(int(match[1]) for match in matches if match))


def port_of(build: Build, image: ImageInfo) -> int | None:
    """Where a build's function will serve with this image; None: once per request."""
    return FunctionSpec.from_dict(build.spec).port_of(exposed_ports(image))


def command_of(image: ImageInfo) -> tuple[str, ...]:
    """ENTRYPOINT and CMD together: what a container runs."""
    config = image.config
    return (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))


def check(image: ImageInfo, platform: tuple[str, str]) -> None:
    """Raise BuildError, with what to do, for an image that cannot be a function."""
    config = image.config
    problem = (
        _command_problem(config)
        or _workdir_problem(config)
        or _size_problem(config)
        or _platform_problem(image, platform)
    )
    if problem:
        raise BuildError(problem, "build:image")


def _command_problem(config: Mapping[str, Any]) -> str:
    if config.get("Cmd") or config.get("Entrypoint"):
        return ""
    return (
        "The image has neither CMD nor ENTRYPOINT, so there is nothing to run: end the "
        'Dockerfile with, for example, CMD ["python", "app.py"].'
    )


def _workdir_problem(config: Mapping[str, Any]) -> str:
    workdir = posixpath.normpath("/" + (config.get("WorkingDir") or "").lstrip("/"))
    # A working directory in /proc leads out of the container (CVE-2024-21626).
    if not re.match(r"/(?:proc|sys)(?:/|\Z)", workdir):
        return ""
    return f"WORKDIR {workdir} is not allowed: choose a directory such as /app."


def _size_problem(config: Mapping[str, Any]) -> str:
    env = sum(len(entry.encode()) for entry in config.get("Env") or ())
    if env > ENV_MAX:
        return f"ENV holds {env:,} bytes; at most {ENV_MAX:,} fit. Use a file instead."
    return volumes.problem(config.get("Volumes") or ())


def _platform_problem(image: ImageInfo, platform: tuple[str, str]) -> str:
    if (image.os, image.architecture) == platform:
        return ""
    return (
        f"The image is for {image.os}/{image.architecture}, but this Docker host runs "
        f"{'/'.join(platform)}: remove --platform from the last FROM, or use an image "
        "that exists for it."
    )


def prune(builds: Iterable[Build]) -> int:
    """Remove the images of these builds, as recorded; the bytes that freed.

    A tag that now points to another image is left alone, an image in use stays for the
    next time. Images of builds that never came to record them go too. Safe to repeat
    and to be killed half-way.
    """
    freed = 0
    for build in builds:
        freed += engine.remove(build.image_tag, build.image_id)
        if not _still_there(build):
            Build.objects.filter(pk=build.pk).update(image_removed_at=timezone.now())
    return freed + _forget_unfinished()


def _still_there(build: Build) -> bool:
    image = engine.image(build.image_id)
    return image is not None and (build.image_tag in image.tags or not image.tags)


def _forget_unfinished() -> int:
    """Images of builds that ended, or whose worker died, between making an image and
    recording it."""
    freed = 0
    ended = Build.objects.filter(
        state__in=[State.ERRORED, State.CANCELLED], image_id=""
    )
    for build in ended.exclude(image_tag=""):
        left = engine.image(build.image_tag)
        freed += engine.remove(build.image_tag, left.id) if left else 0
        Build.objects.filter(pk=build.pk).update(image_tag="")
    return freed
