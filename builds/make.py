"""Makes the image of one claimed build: the work itself, without its bookkeeping."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.utils import timezone

from applications.models import Function
from applications.quantities import show_size
from applications.spec import FunctionSpec
from applications.work import Lease
from builds import absent, credentials, engine, images, parse_error, vetting
from builds.client import ImageRequest
from builds.context import Limits
from builds.engine import BuiltImage
from builds.errors import BuildCancelled, BuildEngineError, BuildError
from builds.failure import FrontendUnavailable
from builds.log import Writer
from builds.models import Build
from builds.prepare import Order, Prepared, prepared

_ASK_EVERY = 0.7  # seconds between two looks for a cancellation


class Watch:
    """What ends a running build early: a cancellation, a lost lease, a full disk.

    `until` is when its time is over, on the monotonic clock.
    """

    def __init__(self, build_pk: int, lease: Lease, log: Writer) -> None:
        self._build_pk, self._lease, self._log = build_pk, lease, log
        self.until = time.monotonic() + settings.DOCKER_BUILD_TIMEOUT
        self._asked_at = 0.0
        self._cancelled = False
        self.disk: Path | None = None
        self.disk_is_full = False

    @property
    def left(self) -> float:
        """Seconds until its time is over, at least one."""
        return max(self.until - time.monotonic(), 1)

    def stop(self) -> bool:
        """Whether to stop now. Asked several times a second, it also writes the log."""
        self._log.tick()
        now = time.monotonic()
        if now - self._asked_at > _ASK_EVERY:
            self._asked_at = now
            unwanted = Build.objects.filter(Build.objects.unwanted())
            self._cancelled = unwanted.filter(pk=self._build_pk).exists()
            free = shutil.disk_usage(self.disk).free if self.disk else None
            self.disk_is_full = _too_little(free)
        return self._cancelled or self._lease.lost.is_set() or self.disk_is_full


def image(build: Build, watch: Watch, log: Writer) -> BuiltImage:
    """Make and check the image, tagged as `build.image_tag` says afterwards.

    Raises BuildCancelled when `watch` ended it, BuildError and GitError for what the
    user can fix, a PlatformError for what another attempt may.
    """
    _check_disk(watch)
    try:
        return _built(build, watch, log)
    except FrontendUnavailable as error:
        log.add(f"{error.message} Using the frontend built into Docker instead.")
        return _built(build, watch, log, builtin=True)


def new_tag(function: Function) -> str:
    """A tag no build ever had."""
    return images.tag_for(function.namespace, function.path, timezone.now())


def forget(build: Build) -> None:
    """Ensure nothing is left of an attempt that was lost. Raises without Docker."""
    engine.available()
    if build.image_tag and (left := engine.image(build.image_tag)) is not None:
        engine.remove(build.image_tag, left.id)


def _check_disk(watch: Watch) -> None:
    """Refuse to start where it cannot end well."""
    watch.disk = engine.disk()
    free = shutil.disk_usage(watch.disk).free if watch.disk else None
    if free is not None and _too_little(free):
        raise BuildEngineError(f"No build starts: {_full(free)}", "build:disk")


def _too_little(free: int | None) -> bool:
    return free is not None and free < settings.ZERVERLESS_DISK_FREE_MIN


def _full(free: int) -> str:
    wanted = settings.ZERVERLESS_DISK_FREE_MIN
    return (
        f"only {free / (1 << 30):.1f} GiB of disk are free on the Docker host, and "
        f"ZERVERLESS_DISK_FREE_MIN wants {wanted / (1 << 30):.1f} GiB. Free some, or "
        "run manage.py cleanup."
    )


def _order(build: Build, *, builtin: bool) -> Order:
    """What has to be prepared for the build."""
    revision = build.revision
    spec = FunctionSpec.from_dict(build.spec)
    committed = revision.committed_at or revision.observed_at
    return Order(
        url=revision.application.repo_url,
        sha=revision.sha,
        branch=revision.application.branch,
        context=spec.context,
        dockerfile=spec.dockerfile,
        limits=Limits(
            settings.ZERVERLESS_CONTEXT_MAX, settings.ZERVERLESS_CONTEXT_FILES_MAX
        ),
        when=int(committed.timestamp()),
        builtin=builtin,
    )


def _say(found: Prepared, log: Writer) -> None:
    left_out = f", {found.ignored:,} left out by .dockerignore" if found.ignored else ""
    log.add(f"{found.files:,} files, {show_size(found.size)}{left_out}")
    if found.outdated:
        log.add(
            f"# syntax={found.outdated}: only docker/dockerfile:1 or a version from "
            "1.4 on is used. Using the frontend built into Docker instead."
        )
    for name in found.submodules:
        log.add(f"Submodule {name} is left out: submodules are not fetched.")


def _built(
    build: Build, watch: Watch, log: Writer, *, builtin: bool = False
) -> BuiltImage:
    order = _order(build, builtin=builtin)
    log.add(f"==> Context {order.context}")
    try:
        with prepared(order, watch.stop, watch.until) as (found, tar):
            _say(found, log)
            try:
                made = _image_of(build, found, tar, watch, log)
            except BuildError as error:
                raise absent.explained(error, found.submodules, tar) from error
    except BuildCancelled:
        if watch.disk_is_full and watch.disk:
            free = shutil.disk_usage(watch.disk).free
            raise BuildError(f"Stopped: {_full(free)}", "build:disk") from None
        raise
    watch.disk, watch.disk_is_full = None, False  # what comes after fills none
    _check(build.image_tag, made)
    return made


def _image_of(
    build: Build, found: Prepared, tar: BinaryIO, watch: Watch, log: Writer
) -> BuiltImage:
    application = build.function.application
    own = vetting.own_repositories(application)
    access = credentials.of(build.function.namespace, log)
    vetting.vet(
        found.text,
        build.spec["dockerfile"],
        own,
        access,
        watch.stop,
        watch.left,
        builtin=found.builtin,
    )
    build.image_tag = new_tag(build.function)
    # Recorded before it exists, so that a killed worker leaves nothing unknown.
    Build.objects.filter(pk=build.pk).update(image_tag=build.image_tag)
    order = ImageRequest(
        tag=build.image_tag,
        dockerfile=found.dockerfile,
        target=build.spec["target"],
        labels=images.labels_for(build),
        seconds=watch.left,
        cache=vetting.cache_of(application),
        own=own,
    )
    log.add("==> Build")
    try:
        return engine.build(order, tar, log.add, watch.stop, access.logins)
    except BuildError as error:
        file = build.spec["dockerfile"]
        raise parse_error.located(error, found.text, file) from error


def _check(tag: str, made: BuiltImage) -> None:
    try:
        images.check(made, engine.platform())
    except BuildError:
        engine.remove(tag, made.id)
        raise
