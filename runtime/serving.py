"""What functions and applications serve right now, in few queries however many.

Every list and every page takes its words from here, so that they agree.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from applications.models import Application, Function, SyncStatus
from applications.work import State
from builds.models import Build
from runtime.models import Deployment, TrafficMinute


class Health(StrEnum):
    """Derived, never stored; a function that still serves is never "missing"."""

    HEALTHY = "healthy"
    PROGRESSING = "progressing"
    DEGRADED = "degraded"
    MISSING = "missing"
    EMPTY = "empty"


# A function is degraded when so many of its requests, and so large a share of them,
# ended in an error in the last minutes; only those since its live deployment count, so
# that a fix is seen at once.
RECENT_MINUTES = 15
ERRORS_PERCENT = 5
ERRORS_LEAST = 3

_LIVE = {
    **{name: name for name in ("number", "commit", "created_at", "config")},
    "build": "build_id",
    "subject": "build__revision__subject",
}
_NEWEST = {
    **{name: name for name in ("pk", "state", "error", "failed_step", "cancelled_by")},
    "commit": "revision__sha",
}
_ACTIVE = (State.QUEUED, State.RUNNING)


class _MinuteOf(Func):
    """The minute of a moment, counted from 1970 as TrafficMinute does."""

    template = "CAST(FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / 60) AS BIGINT)"
    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # %s of strftime, escaped for the template and for the parameters of the query.
        template = "CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / 60"
        return self.as_sql(compiler, connection, template=template, **context)


def with_health(functions: QuerySet[Function]) -> QuerySet[Any]:
    """Each function with its live deployment, its newest build and its health.

    Annotates `live_…` with the names in _LIVE, `newest_…` with those in _NEWEST,
    `recent_requests`, `recent_errors` and `health`.
    """
    live = Deployment.objects.live().filter(function=OuterRef("pk"))
    newest = Build.objects.filter(function=OuterRef("pk")).order_by("-pk")
    return (
        functions.annotate(
            **{f"live_{name}": _first(live, of) for name, of in _LIVE.items()},
            **{f"newest_{name}": _first(newest, of) for name, of in _NEWEST.items()},
        )
        .annotate(
            recent_requests=_recently(F("requests")),
            recent_errors=_recently(F("function_errors") + F("platform_errors")),
        )
        .annotate(health=_health())
    )


def _first(rows: QuerySet[Any], name: str) -> Subquery:
    return Subquery(rows.values(name)[:1])


def _recently(amount: Any) -> Coalesce:
    """A sum over the minutes that count; the minute of the deployment has both."""
    rows = TrafficMinute.objects.filter(
        function=OuterRef("pk"),
        minute__gte=int(time.time() // 60) - RECENT_MINUTES,
        minute__gt=_MinuteOf(OuterRef("live_created_at")),
    )
    summed = rows.order_by().values("function").annotate(sum=Sum(amount))
    return Coalesce(Subquery(summed.values("sum")), 0)


def _health() -> Case:
    is_failing = Q(
        recent_errors__gte=ERRORS_LEAST,
        recent_requests__lte=F("recent_errors") * (100 // ERRORS_PERCENT),
    )
    is_behind = ~Q(newest_state=State.SUCCEEDED)
    return Case(
        When(newest_state__in=_ACTIVE, then=Value(Health.PROGRESSING.value)),
        When(live_number__isnull=True, then=Value(Health.MISSING.value)),
        When(is_behind | is_failing, then=Value(Health.DEGRADED.value)),
        default=Value(Health.HEALTHY.value),
    )


def with_git(applications: QuerySet[Application]) -> QuerySet[Any]:
    """Each application with `git`: what its branch has against what serves.

    The row's own status says whether the newest commit was planned. It is out of sync
    all the same where a function of that commit was not built, and on its way to be
    in sync while one is being built.
    """
    newest = Build.objects.filter(function=OuterRef("pk")).order_by("-pk")
    declared = Function.objects.declared().filter(application=OuterRef("pk"))
    functions: QuerySet[Any] = declared.annotate(newest_state=_first(newest, "state"))
    behind = functions.exclude(newest_state__in=[*_ACTIVE, State.SUCCEEDED])
    is_planned = Q(status=SyncStatus.SYNCED)
    return applications.annotate(
        git=Case(
            When(~Q(poll_error=""), then=Value("unreachable")),
            When(
                is_planned & Exists(functions.filter(newest_state__in=_ACTIVE)),
                then=Value("progressing"),
            ),
            When(is_planned & Exists(behind), then=Value(SyncStatus.OUT_OF_SYNC.value)),
            default=F("status"),
        )
    )


def facts(function: Any) -> tuple[object, ...]:
    """What decides whether a function from `with_health` looks different now."""
    newest = (function.newest_pk, function.newest_state)
    recent = (function.recent_requests, function.recent_errors)
    return function.pk, function.health, function.live_number, newest, recent


def is_behind(function: Any) -> bool:
    """Whether the newest commit that changed the function was not built, and will not
    be; for a function from `with_health`."""
    done = {None, State.SUCCEEDED, *_ACTIVE}
    return function.newest_state not in done


def is_failing(function: Any) -> bool:
    """Whether too many of its recent requests failed: the same rule as `_health`."""
    wrong: int = function.recent_errors
    many = wrong * (100 // ERRORS_PERCENT)
    return wrong >= ERRORS_LEAST and function.recent_requests <= many


def counts() -> Counter[str]:
    """How many declared functions there are of each health."""
    rows = (
        with_health(Function.objects.declared())
        .order_by()
        .values("health")
        .annotate(amount=Count("pk"))
    )
    return Counter({row["health"]: row["amount"] for row in rows})


def by_application(applications: Iterable[Application]) -> dict[int, Counter[str]]:
    """Counts of health for each application, by primary key."""
    found: dict[int, Counter[str]] = {row.pk: Counter() for row in applications}
    functions = with_health(Function.objects.declared())
    rows = functions.filter(application__in=list(found)).order_by()
    for pk, health in rows.values_list("application", "health"):
        found[pk][health] += 1
    return found


def overall(health: Counter[str]) -> Health:
    """One word for an application, from how many functions there are of each health."""
    total = health.total()
    if health[Health.PROGRESSING]:
        return Health.PROGRESSING
    if total and health[Health.MISSING] == total:
        return Health.MISSING
    if health[Health.MISSING] or health[Health.DEGRADED]:
        return Health.DEGRADED
    return Health.HEALTHY if total else Health.EMPTY


def needing_attention(limit: int) -> QuerySet[Any]:
    """Functions that do not serve what Git says or fail, without a build on its way."""
    wanting = [Health.MISSING, Health.DEGRADED]
    rows = with_health(Function.objects.declared()).filter(health__in=wanting)
    return rows.order_by(F("newest_pk").desc(nulls_last=True))[:limit]
