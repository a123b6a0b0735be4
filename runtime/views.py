"""The function pages: where it answers, what serves, what it answered lately."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db.models import F, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from applications.fragments import fragment, unless_seen, version
from applications.models import Function
from applications.spec import unused
from builds.models import Build
from runtime import instance_views, serving, traffic_views

PER_PAGE = 50
FILTERS = {
    "": "All",
    "healthy": "Healthy",
    "progressing": "Building",
    "degraded": "Degraded",
    "missing": "Not serving",
}
DEPLOYMENTS = 10
INVOCATIONS = 20


@require_GET
def functions(request: HttpRequest) -> HttpResponse:
    """All functions, or those of one health, or whose address holds some text."""
    return render(request, "runtime/function_list.html", _list(request))


@fragment
@require_GET
def functions_part(request: HttpRequest) -> HttpResponse:
    """The changing part of the page above."""
    return unless_seen(request, "runtime/_function_list.html", _list(request))


def _list(request: HttpRequest) -> dict[str, Any]:
    health = request.GET.get("health", "")
    text = request.GET.get("q", "").strip()
    rows = serving.with_health(Function.objects.declared()).select_related(
        "application"
    )
    if health:
        rows = rows.filter(health=health)
    if text:
        rows = rows.filter(Q(namespace__contains=text) | Q(path__contains=text))
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("page"))
    page.object_list = shown = traffic_views.with_brief(list(page.object_list))
    return {
        "page": page,
        "health": health,
        "q": text,
        "filters": FILTERS.items(),
        "version": version([(serving.facts(row), row.brief) for row in shown]),
    }


@require_GET
def function(request: HttpRequest, namespace: str, path: str) -> HttpResponse:
    """One function, found by its address; a retired one shows its history."""
    found = Function.objects.filter(namespace=namespace, path=f"/{path}")
    context = _context(request, _first(found))
    return render(request, "runtime/function.html", context)


@fragment
@require_GET
def function_part(request: HttpRequest, pk: int) -> HttpResponse:
    """The changing part of the page above."""
    context = _context(request, _first(Function.objects.filter(pk=pk)))
    return unless_seen(request, "runtime/_function.html", context)


def _first(rows: Any) -> Any:
    """The one that is declared now, else the one retired last."""
    newest = serving.with_health(rows).select_related("application")
    found = newest.order_by(F("retired_at").desc(nulls_first=True), "-pk").first()
    if found is None:
        raise Http404("There is no function at this address.")
    return found


def _context(request: HttpRequest, row: Any) -> dict[str, Any]:
    deployments = Paginator(
        row.deployments.select_related("build__revision", "build__sync").order_by(
            "-number"
        ),
        DEPLOYMENTS,
    ).get_page(request.GET.get("deployments"))
    invocations = Paginator(
        row.invocations.select_related("deployment").order_by("-started_at"),
        INVOCATIONS,
    ).get_page(request.GET.get("page"))
    newest = Build.objects.filter(function=row).order_by("-pk").first()
    live = row.deployments.live().select_related("build__revision").first()
    shown = list(invocations.object_list)
    return {
        "function": row,
        "live": live,
        "unused": unused(live.config) if live else (),
        "newest": newest,
        "deployments": deployments,
        "invocations": invocations,
        **instance_views.of_function(row),
        **traffic_views.of_function(request, row),
        "version": version(
            [deployment.pk for deployment in deployments.object_list],
            [invocation.pk for invocation in shown],
            newest and (newest.pk, newest.state),
            (row.retired_at, row.application.status),
            serving.facts(row),
        ),
    }
