"""What functions and applications serve right now, in few queries however many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.db.models import Case, Count, F, OuterRef, QuerySet, Subquery, Value, When

from applications.models import Application, Function
from applications.work import State
from builds.models import Build
from runtime.models import Deployment


class Health(StrEnum):
    """Derived, never stored; a function that still serves is never "missing"."""

    HEALTHY = "healthy"
    PROGRESSING = "progressing"
    DEGRADED = "degraded"
    MISSING = "missing"
    EMPTY = "empty"


_LIVE = ("number", "commit", "created_at", "config", "build__revision__subject")
_NEWEST = ("pk", "state", "error", "failed_step")


def with_health(functions: QuerySet[Function]) -> QuerySet[Any]:
    """Each function with its live deployment, its newest build and its health.

    Annotates `live_number live_commit live_created_at live_config live_subject`,
    `newest_pk newest_state newest_error newest_failed_step` and `health`.
    """
    live = Deployment.objects.live().filter(function=OuterRef("pk"))
    newest = Build.objects.filter(function=OuterRef("pk")).order_by("-pk")
    annotated = functions.annotate(
        **{
            f"live_{name.rpartition('__')[2]}": Subquery(live.values(name)[:1])
            for name in _LIVE
        },
        **{f"newest_{name}": Subquery(newest.values(name)[:1]) for name in _NEWEST},
    )
    return annotated.annotate(
        health=Case(
            When(
                newest_state__in=[State.QUEUED, State.RUNNING],
                then=Value(Health.PROGRESSING.value),
            ),
            When(live_number__isnull=True, then=Value(Health.MISSING.value)),
            When(
                newest_state__in=[State.FAILED, State.ERRORED],
                then=Value(Health.DEGRADED.value),
            ),
            default=Value(Health.HEALTHY.value),
        )
    )


def facts(function: Any) -> tuple[int, str, int | None]:
    """Primary key, health and live number of a function from `with_health`."""
    return function.pk, function.health, function.live_number


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
    """One word for an application: that of its function in the worst state."""
    for worst in (Health.PROGRESSING, Health.MISSING, Health.DEGRADED, Health.HEALTHY):
        if health[worst]:
            return worst
    return Health.EMPTY


def needing_attention(limit: int) -> QuerySet[Any]:
    """Functions that do not serve what Git says, without a build on its way."""
    wanting = [Health.MISSING, Health.DEGRADED]
    rows = with_health(Function.objects.declared()).filter(health__in=wanting)
    return rows.order_by(F("newest_pk").desc(nulls_last=True))[:limit]
