"""Waits for the end of a sync's commit, telling what happens, for `--wait`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from applications.models import Application, Sync, SyncQuerySet
from applications.work import State
from builds import outcome
from builds.models import Build
from runtime.models import Deployment

# Gateways look for new routes four times a second: who waited for "live" and then
# calls the URL must not meet the moment before.
ROUTES_SEEN = 0.5


class StillRunning(Exception):
    """The time given to `--wait` is over."""


def follow(sync: Sync, say: Callable[[str], None], timeout: float) -> bool:
    """Wait until the commit of a sync is live, or will not be; whether all of it is.

    Whoever builds it: a sync that finds the build on its way waits for that one.
    Raises StillRunning after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    said: set[str] = set()
    while True:
        row = _syncs().get(pk=sync.pk)
        builds = _builds_of(row)
        is_final = row.is_final and all(_has_settled(build) for build in builds)
        for line in [_sync_line(row, is_final=is_final), *map(_build_line, builds)]:
            if line not in said:
                said.add(line)
                say(line)
        if is_final:
            time.sleep(ROUTES_SEEN)
            return all(work.state == State.SUCCEEDED for work in (row, *builds))
        if time.monotonic() > deadline:
            raise StillRunning
        time.sleep(0.2)


def _syncs() -> SyncQuerySet:
    return outcome.with_builds(Sync.objects.select_related("application", "revision"))


def _builds_of(sync: Sync) -> list[Build]:
    """The newest build of each function that this sync's builds made of its commit."""
    newest = []
    for build in outcome.of(sync).builds:
        same = Build.objects.filter(function=build.function, revision=build.revision)
        newest.append(same.select_related("function", "revision").latest("pk"))
    return newest


def result(application: Application, sync: Sync) -> dict[str, Any]:
    """What a script wants to know of a finished sync, as JSON-able values."""
    sync = _syncs().get(pk=sync.pk)
    live = Deployment.objects.live().filter(function__application=application)
    return {
        "application": str(application),
        "sync": sync.pk,
        "state": outcome.of(sync).state,
        "commit": sync.revision.sha if sync.revision else None,
        "error": sync.error,
        "plan": sync.plan,
        "builds": [
            {
                "build": build.pk,
                "function": str(build.function),
                "state": build.state,
                "error": build.error,
                "image": build.image_tag,
            }
            for build in _builds_of(sync)
        ],
        "live": [
            {
                "function": row.function.url_path,
                "deployment": row.number,
                "commit": row.commit,
                "image": row.image_tag,
                "image_id": row.image_id,
            }
            for row in live.select_related("function")
        ],
    }


def live_lines(result: dict[str, Any]) -> list[str]:
    """`/alice/api  v3  abc1234` for each function that serves."""
    return [
        f"{row['function']}  v{row['deployment']}  {row['commit'][:7]}"
        for row in result["live"]
    ]


def _has_settled(build: Build) -> bool:
    if build.state != State.SUCCEEDED:
        return build.is_final
    # Succeeded comes a moment before live; too late for live is settled too.
    newer = Build.objects.filter(function=build.function, order__gt=build.order)
    return build.deployments.exists() or newer.exists()


def _sync_line(sync: Sync, *, is_final: bool) -> str:
    """Its own end is not said before that of its builds."""
    commit = f" at {sync.revision.short_sha}" if sync.revision else ""
    state = outcome.of(sync).state
    if state == State.SUCCEEDED and not is_final:
        state = State.RUNNING
    return f"{sync}: {state}{commit}" + (f"\n{sync.error}" if sync.error else "")


def _build_line(build: Build) -> str:
    reused = " (image reused)" if build.reused_from_id else ""
    return f"{build}: {build.state}{reused}" + (
        f"\n{build.error}" if build.error else ""
    )
