"""What is live, and the one transaction that changes it.

A deployment goes live, is superseded or retired by moving `is_live`; the same
transaction raises the installation's `routes_version`, which gateways watch.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import F, Max, OuterRef, Subquery
from django.utils import timezone

from applications.models import Application, Function
from applications.plan import Live
from applications.spec import FunctionSpec
from applications.work import State
from builds import engine
from builds.errors import BuildEngineError
from builds.models import Build
from runtime.models import Deployment, Installation


def observe(application: Application) -> dict[str, Live | None]:
    """What serves at each declared path, or will once its active build ends.

    A deployment whose image somebody removed from the daemon serves nothing.
    """
    functions = Function.objects.declared().filter(application=application)
    gone = {row.pk for row in without_image()}
    return {function.path: _target_of(function, gone) for function in functions}


def without_image() -> list[Deployment]:
    """Live deployments whose image the daemon no longer has; none while it is away."""
    rows = list(Deployment.objects.live().select_related("function__application"))
    try:
        present = engine.ids() if rows else frozenset()
    except BuildEngineError:
        return []
    return [row for row in rows if row.image_id not in present]


def follow_tags() -> None:
    """Have deployments name the tags their builds have by now."""
    Deployment.objects.exclude(image_tag=F("build__image_tag")).update(
        image_tag=Subquery(
            Build.objects.filter(pk=OuterRef("build_id")).values("image_tag")
        )
    )


def _target_of(function: Function, gone: set[int]) -> Live | None:
    active = function.builds.active().order_by("-order", "-pk").first()
    build = active
    if build is None:
        live = function.deployments.live().select_related("build").first()
        build = live.build if live and live.pk not in gone else None
    if build is None:
        return None
    config = FunctionSpec.from_dict(build.spec).config()
    return Live(build.key, config, active.pk if active else None)


@transaction.atomic
def activate(build: Build) -> Deployment | None:
    """Ensure a succeeded build is what serves, unless something newer already does.

    Returns the live deployment made for it, or None when it came too late: the
    function was retired, or a newer commit went live first.
    """
    function = Function.objects.select_for_update().get(pk=build.function_id)
    if build.state != State.SUCCEEDED or function.retired_at is not None:
        return None
    if function.application.removed_at is not None:
        return None  # a sync of it was running when it was removed
    live = function.deployments.live().select_related("build").first()
    if live and (live.build.order, live.build_id) >= (build.order, build.pk):
        return live if live.build_id == build.pk else None
    if function.deployments.filter(build=build).exists():
        return None
    _take_down(function)
    deployment = Deployment.objects.create(
        function=function,
        build=build,
        number=next_number(function),
        image_id=build.image_id,
        image_tag=build.image_tag,
        commit=build.revision.sha,
        config=config_of(build),
        is_live=True,
    )
    _announce()
    return deployment


def config_of(build: Build) -> dict[str, Any]:
    """How a deployment of this build runs; whether as a server is decided by now."""
    return {**FunctionSpec.from_dict(build.spec).config(), "port": build.port}


def next_number(function: Function) -> int:
    """What the function's next deployment is called: 3 for v3."""
    newest = function.deployments.aggregate(newest=Max("number"))["newest"]
    return (newest or 0) + 1


@transaction.atomic
def retire(function: Function) -> None:
    """Ensure a function no longer declared serves nothing. Its history stays."""
    Function.objects.filter(pk=function.pk, retired_at__isnull=True).update(
        retired_at=timezone.now()
    )
    _take_down(function)
    _announce()


def _take_down(function: Function) -> None:
    function.deployments.live().update(is_live=False, superseded_at=timezone.now())


def _announce() -> None:
    """Tell the gateways: they reload their routes when the number has moved."""
    Installation.current()
    Installation.objects.update(routes_version=F("routes_version") + 1)
