"""Waits for a sync and its builds, telling what happens, for `--wait`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from applications.models import Application, Sync
from applications.work import State
from builds.models import Build
from runtime.models import Deployment

# Gateways look for new routes four times a second: who waited for "live" and then
# calls the URL must not meet the moment before.
ROUTES_SEEN = 0.5


class StillRunning(Exception):
    """The time given to `--wait` is over."""


def follow(sync: Sync, say: Callable[[str], None], timeout: float) -> bool:
    """Wait until the sync and its builds have ended; whether all of it is live.

    Raises StillRunning after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    said: set[str] = set()
    while True:
        sync.refresh_from_db()
        builds = list(sync.builds.select_related("function"))
        for line in [_sync_line(sync), *map(_build_line, builds)]:
            if line not in said:
                said.add(line)
                say(line)
        if sync.is_final and all(_has_settled(build) for build in builds):
            time.sleep(ROUTES_SEEN)
            return all(row.state == State.SUCCEEDED for row in (sync, *builds))
        if time.monotonic() > deadline:
            raise StillRunning
        time.sleep(0.2)


def result(application: Application, sync: Sync) -> dict[str, Any]:
    """What a script wants to know of a finished sync, as JSON-able values."""
    live = Deployment.objects.live().filter(function__application=application)
    return {
        "application": str(application),
        "sync": sync.pk,
        "state": sync.state,
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
            for build in sync.builds.select_related("function")
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


def _sync_line(sync: Sync) -> str:
    commit = f" at {sync.revision.short_sha}" if sync.revision else ""
    return f"{sync}: {sync.state}{commit}" + (f"\n{sync.error}" if sync.error else "")


def _build_line(build: Build) -> str:
    reused = " (image reused)" if build.reused_from_id else ""
    return f"{build}: {build.state}{reused}" + (
        f"\n{build.error}" if build.error else ""
    )
