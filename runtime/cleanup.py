"""Frees what nothing needs any more, and only what our tables own.

An image is ours when a Build row recorded its tag and id, a container when its name
carries this installation's random name; labels prove nothing, because an image can
claim any. `survey()` looks and decides, `sweep()` does it: `--dry-run` is the first
without the second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from applications import repository
from applications.errors import PlatformError
from applications.models import Application, Function, Sync
from applications.work import FINAL_STATES
from builds import images
from builds.models import Build, BuildLogChunk
from runtime import bridges, egress, engine, engine_files
from runtime.facts import Container
from runtime.models import (
    GATEWAY_DEAD,
    Deployment,
    Gateway,
    Installation,
    Invocation,
    TrafficMinute,
)

# A build just finished may be activated any moment; its image is not yet "live".
YOUNG = timedelta(minutes=10)

log = logging.getLogger(__name__)


@dataclass
class Survey:
    """What would go, and why it may."""

    images: list[Build] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    applications: list[Application] = field(default_factory=list)
    rows: dict[str, QuerySet[Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The survey as JSON-able values, sizes in bytes."""
        return {
            "images": [
                {
                    "tag": build.image_tag,
                    "id": build.image_id,
                    "function": str(build.function),
                    "bytes": build.image_size,
                }
                for build in self.images
            ],
            "containers": [row.name for row in self.containers],
            "applications": [str(row) for row in self.applications],
            "rows": {name: rows.count() for name, rows in self.rows.items()},
            "bytes": sum({b.image_id: b.image_size or 0 for b in self.images}.values()),
        }


def survey(keep: int | None = None) -> Survey:
    """Decide what may go; `keep` is the number of latest images per function."""
    keep = settings.ZERVERLESS_KEEP_IMAGES if keep is None else keep
    needed = _needed_images(max(keep, 1))
    doomed = Build.objects.with_image().exclude(image_id__in=needed)
    return Survey(
        images=list(doomed.select_related("function")),
        containers=orphans(),
        applications=list(Application.objects.filter(removed_at__isnull=False)),
        rows=_old_rows(),
    )


def sweep(doomed: Survey) -> dict[str, Any]:
    """Do what the survey decided; safe to run twice, or to be killed half-way."""
    done = doomed.as_dict()
    done["bytes"] = images.prune(doomed.images)
    remove_containers(doomed.containers)
    if doomed.containers:
        _remove_network(egress.network_name)
    for rows in doomed.rows.values():
        rows.delete()
    for application in doomed.applications:
        _forget(application)
    _forget_commits()
    return done


def orphans() -> list[Container]:
    """Our containers whose gateway is dead: nobody else will remove them."""
    alive = set(
        Gateway.objects.filter(
            heartbeat_at__gt=timezone.now() - GATEWAY_DEAD
        ).values_list("id", flat=True)
    )
    ours = engine.list_ours(Installation.current().name)
    return [row for row in ours if row.owner not in alive]


def remove_orphans() -> None:
    """Remove what dead gateways left running, and then the rows that say they were."""
    dead = Gateway.objects.filter(heartbeat_at__lte=timezone.now() - GATEWAY_DEAD)
    ids = set(dead.values_list("id", flat=True))
    try:
        left = [row for row in orphans() if row.owner in ids] if ids else []
    except PlatformError as error:
        log.warning("what dead gateways left cannot be looked for: %s", error)
        return
    if remove_containers(left):
        if ids:
            _remove_network(egress.network_name)
        # Unless it lives after all: a machine that slept wakes up with old heartbeats.
        dead.filter(id__in=ids).delete()


def remove_containers(containers: Iterable[Container]) -> bool:
    """Remove each with its volumes; one that cannot go now is left to the next run.
    Whether all went."""
    failed = 0
    for container in containers:
        try:
            engine.remove(container.id)
        except PlatformError:
            log.warning("cannot remove container %s", container.name, exc_info=True)
            failed += 1
    return not failed


def _remove_network(name_of: Callable[[str], str]) -> None:
    """Unless it is in use. Beside living gateways only the one for egress may go: they
    make it again when they need it, and the other one never."""
    name = name_of(Installation.current().name)
    try:
        engine.remove_network(name)
    except PlatformError:
        log.warning("cannot remove network %s", name, exc_info=True)


def remove_everything_running() -> None:
    """At the end of `serve`: no container, volume or network of ours outlives it."""
    installation = Installation.current().name
    try:
        remove_containers(engine.list_ours(installation))
        engine_files.remove_volumes(installation)
        for name_of in (bridges.network_name, egress.network_name):
            _remove_network(name_of)
    except PlatformError:
        log.warning("the Docker daemon is away; containers stay", exc_info=True)


def _needed_images(keep: int) -> set[str]:
    """Ids of the images that serve, are young, are in use or are among the latest."""
    needed = set(Deployment.objects.live().values_list("image_id", flat=True))
    young = timezone.now() - YOUNG
    needed |= set(
        Build.objects.with_image()
        .filter(finished_at__gt=young, function__retired_at__isnull=True)
        .values_list("image_id", flat=True)
    )
    needed |= {row.image_id for row in engine.list_ours(Installation.current().name)}
    for function in Function.objects.declared():
        needed |= _latest(function, keep)
    return needed


def _latest(function: Function, keep: int) -> set[str]:
    latest: list[str] = []
    for image in function.builds.with_image().values_list("image_id", flat=True):
        if image not in latest:
            latest.append(image)
        if len(latest) == keep:
            break
    return set(latest)


def _old_rows() -> dict[str, QuerySet[Any]]:
    old = timezone.now() - timedelta(seconds=settings.ZERVERLESS_RETENTION_LOGS)
    serving = Deployment.objects.live().values("build")
    return {
        "invocations": Invocation.objects.filter(started_at__lt=old)
        | Invocation.objects.filter(pk__in=_surplus_invocations()),
        "log chunks": BuildLogChunk.objects.filter(build__finished_at__lt=old).exclude(
            build__in=serving
        ),
        "syncs": Sync.objects.filter(state__in=FINAL_STATES, finished_at__lt=old),
        "minutes of traffic": TrafficMinute.objects.filter(
            minute__lt=int(time.time() - settings.ZERVERLESS_RETENTION_TRAFFIC) // 60
        ),
        "gateways": Gateway.objects.filter(
            heartbeat_at__lt=timezone.now() - timedelta(hours=1)
        ),
    }


def _surplus_invocations() -> list[str]:
    """Ids beyond the latest ZERVERLESS_KEEP_INVOCATIONS of each function."""
    surplus: list[str] = []
    for function in Function.objects.all():
        rows = function.invocations.order_by("-started_at").values_list("pk", flat=True)
        surplus += rows[settings.ZERVERLESS_KEEP_INVOCATIONS :][:5000]
    return surplus


def _forget(application: Application) -> None:
    """Delete a removed application once none of its images is left."""
    if Build.objects.with_image().filter(function__application=application).exists():
        return
    url = application.repo_url
    application.delete()
    if not Application.objects.filter(repo_url=url).exists():
        repository.drop(url)


def _forget_commits() -> None:
    """Keep in each Git cache only commits that something may still be built from."""
    urls = Application.objects.values_list("repo_url", flat=True)
    repository.keep_only(set(urls))
    for url in (
        Application.objects.present().values_list("repo_url", flat=True).distinct()
    ):
        applications = Application.objects.present().filter(repo_url=url)
        builds = Build.objects.active().filter(function__application__in=applications)
        syncs = Sync.objects.active().filter(application__in=applications)
        if syncs.exists():
            continue  # a sync in flight may be fetching a commit no row names yet
        keep = set(applications.values_list("head_sha", flat=True))
        keep |= set(builds.values_list("revision__sha", flat=True))
        repository.forget(url, keep - {""})
