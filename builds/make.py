"""Makes the image of one claimed build: the work itself, without its bookkeeping."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from applications import repository
from applications.models import Function
from applications.repository import Snapshot
from applications.spec import FunctionSpec
from applications.work import Lease
from builds import context, engine, images, vetting
from builds.client import ImageRequest
from builds.context import Context, Limits
from builds.dockerfile import frontend
from builds.engine import BuiltImage
from builds.errors import BuildCancelled, BuildEngineError, BuildError
from builds.failure import FrontendUnavailable
from builds.log import Writer
from builds.models import Build

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

    def stop(self) -> bool:
        """Whether to stop now. Asked several times a second, it also writes the log."""
        self._log.tick()
        now = time.monotonic()
        if now - self._asked_at > _ASK_EVERY:
            self._asked_at = now
            self._cancelled = Build.objects.filter(
                pk=self._build_pk, cancel_requested_at__isnull=False
            ).exists()
            free = shutil.disk_usage(self.disk).free if self.disk else None
            self.disk_is_full = _too_little(free)
        return self._cancelled or self._lease.lost.is_set() or self.disk_is_full


def image(build: Build, watch: Watch, log: Writer) -> BuiltImage:
    """Make and check the image, tagged as `build.image_tag` says afterwards.

    Raises BuildCancelled when `watch` ended it, BuildError and GitError for what the
    user can fix, a PlatformError for what another attempt may.
    """
    _check_disk(watch)
    application, sha = build.revision.application, build.revision.sha
    # It is cached, unless the cache was lost since the commit was observed.
    repository.fetch(application.repo_url, sha, application.branch)
    spec = FunctionSpec.from_dict(build.spec)
    with repository.open_snapshot(application.repo_url, sha) as snapshot:
        wanted = _survey(snapshot, spec, log)
        asked = frontend(wanted.dockerfile_text)
        builtin = asked is not None and not asked.is_current
        if asked and builtin:
            log.add(
                f"# syntax={asked.image}: only docker/dockerfile:1 or a version from "
                "1.4 on is used. Using the frontend built into Docker instead."
            )
        try:
            return _built(build, wanted, watch, log, builtin=builtin)
        except FrontendUnavailable as error:
            log.add(f"{error.message} Using the frontend built into Docker instead.")
            return _built(build, wanted, watch, log, builtin=True)


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


def _survey(snapshot: Snapshot, spec: FunctionSpec, log: Writer) -> Context:
    limits = Limits(
        settings.ZERVERLESS_CONTEXT_MAX, settings.ZERVERLESS_CONTEXT_FILES_MAX
    )
    log.add(f"==> Context {spec.context}")
    found = context.survey(snapshot, spec.context, spec.dockerfile, limits)
    left_out = f", {found.ignored:,} left out by .dockerignore" if found.ignored else ""
    log.add(f"{len(found.entries):,} files, {found.size / 1e3:,.1f} kB{left_out}")
    for name in found.submodules:
        log.add(f"Submodule {name} is left out: submodules are not fetched.")
    return found


def _built(
    build: Build, wanted: Context, watch: Watch, log: Writer, *, builtin: bool = False
) -> BuiltImage:
    application = build.function.application
    own = vetting.own_repositories(application)
    vetting.vet(
        wanted.dockerfile_text,
        build.spec["dockerfile"],
        own,
        watch.stop,
        max(watch.until - time.monotonic(), 1),
        builtin=builtin,
    )
    build.image_tag = new_tag(build.function)
    # Recorded before it exists, so that a killed worker leaves nothing unknown.
    Build.objects.filter(pk=build.pk).update(image_tag=build.image_tag)
    order = ImageRequest(
        tag=build.image_tag,
        dockerfile=wanted.dockerfile,
        target=build.spec["target"],
        labels=images.labels_for(build),
        seconds=settings.DOCKER_BUILD_TIMEOUT,
        cache=vetting.cache_of(application),
        own=own,
    )
    committed = build.revision.committed_at or build.revision.observed_at
    when = int(committed.timestamp())
    log.add("==> Build")
    try:
        with context.packed(wanted, when, watch.stop, builtin=builtin) as tar:
            made = engine.build(order, tar, log.add, watch.stop)
    except BuildCancelled:
        if watch.disk_is_full and watch.disk:
            free = shutil.disk_usage(watch.disk).free
            raise BuildError(f"Stopped: {_full(free)}", "build:disk") from None
        raise
    watch.disk, watch.disk_is_full = None, False  # what comes after fills none
    _check(build.image_tag, made)
    return made


def _check(tag: str, made: BuiltImage) -> None:
    try:
        images.check(made, engine.platform())
    except BuildError:
        engine.remove(tag, made.id)
        raise
