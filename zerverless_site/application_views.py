"""Applications and their syncs: pages that show builds and deployments as well."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import IntegrityError, transaction
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
)

from applications import connection, names
from applications.forms import AddForm
from applications.fragments import fragment, unless_seen, version
from applications.models import Application, Function, Sync, SyncQuerySet
from applications.views import asked, tested
from applications.work import State
from builds import outcome
from builds.models import Build
from builds.outcome import Outcome
from runtime import serving, traffic_views
from zerverless_site import pipeline

PER_PAGE = 25
FILTERS = {
    "": "All",
    "synced": "Up to date",
    "progressing": "Building",
    "out_of_sync": "Out of sync",
    "unreachable": "Git unreachable",
    "unknown": "Not checked yet",
}
SYNCS_SHOWN = 10


@require_GET
def applications(request: HttpRequest) -> HttpResponse:
    """All applications, or those of one status."""
    return render(request, "applications/application_list.html", _list(request))


@fragment
@require_GET
def applications_part(request: HttpRequest) -> HttpResponse:
    """The changing part of the page above."""
    return unless_seen(request, "applications/_application_list.html", _list(request))


def _list(request: HttpRequest) -> dict[str, Any]:
    status = request.GET.get("status", "")
    found = serving.with_git(Application.objects.present())
    if status:
        found = found.filter(git=status)
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    rows = _rows(list(page.object_list))
    return {
        "page": page,
        "status": status,
        "filters": FILTERS.items(),
        "rows": rows,
        "version": version([_fact(row) for row in rows]),
    }


def _rows(found: list[Application]) -> list[dict[str, Any]]:
    """Each application with the health of its functions together."""
    health = serving.by_application(found)
    return [
        {
            "application": row,
            "health": serving.overall(health[row.pk]),
            "total": health[row.pk].total(),
        }
        for row in found
    ]


def _fact(row: dict[str, Any]) -> tuple[object, ...]:
    """What decides whether a row looks different now."""
    shown = row["application"]
    place = (shown.pk, shown.repo_url, shown.branch, shown.head_sha)
    return (*place, shown.git, shown.checked_at, row["health"], row["total"])


@require_http_methods(["GET", "POST"])
def application_new(request: HttpRequest) -> HttpResponse:
    """Add a repository: test it, save it, watch its first sync."""
    test = asked(request, request.GET.get("test"))
    if test and test.saved:
        return _first_sync(request, test.saved)
    initial = test.form if test else {"namespace": _own(request)}
    form = AddForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        action = request.POST.get("action")
        if action == "save_anyway":
            return _added(request, form)
        return redirect(connection.ask(form, _who(request), saves=action != "test"))
    context = {"form": form, **tested(test)}
    return render(request, "applications/application_new.html", context)


def _own(request: HttpRequest) -> str:
    """The namespace a person probably wants: their own name, where it can be one."""
    name = request.user.get_username().lower()
    return "" if names.namespace_problem(name) else name


def _added(request: HttpRequest, form: AddForm) -> HttpResponse:
    try:
        with transaction.atomic():
            application = form.save()
    except IntegrityError:
        # Somebody else saved the same name between our check and this.
        messages.error(request, "That name was taken a moment ago: choose another.")
        return redirect("application_new")
    pipeline.request_sync(application, Sync.Trigger.MANUAL, _who(request))
    return _first_sync(request, application)


def _first_sync(request: HttpRequest, application: Application) -> HttpResponse:
    messages.success(request, f"{application} is added. This is its first sync.")
    return redirect(application.syncs.order_by("pk").first() or application)


def _who(request: HttpRequest) -> str:
    return request.user.get_username()[:150]


def _application(namespace: str, name: str) -> Any:
    present = serving.with_git(Application.objects.present())
    return get_object_or_404(present, namespace=namespace, name=name)


@require_GET
def application(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """One application: what Git says, what serves, and what was done about it."""
    context = _application_context(_application(namespace, name))
    return render(request, "applications/application.html", context)


@fragment
@require_GET
def application_part(request: HttpRequest, pk: int) -> HttpResponse:
    """The changing part of the page above."""
    row = get_object_or_404(serving.with_git(Application.objects.present()), pk=pk)
    return unless_seen(
        request, "applications/_application.html", _application_context(row)
    )


def _application_context(row: Any) -> dict[str, Any]:
    declared = Function.objects.declared().filter(application=row)
    functions = traffic_views.with_brief(list(serving.with_health(declared)))
    syncs = _with_outcome(row.syncs.select_related("revision"))
    head = row.revisions.filter(sha=row.head_sha).first() if row.head_sha else None
    facts = [serving.facts(function) for function in functions]
    health = Counter(function.health for function in functions)
    return {
        "application": row,
        "functions": functions,
        "syncs": syncs,
        "head": head,
        "health": serving.overall(health),
        "serving": sum(row.live_number is not None for row in functions),
        "behind": [row for row in functions if serving.is_behind(row)],
        "version": version(
            [(sync.pk, ended.state, ended.words) for sync, ended in syncs],
            facts,
            [function.brief for function in functions],
            (row.git, row.checked_at, row.poll_error, row.head_sha, row.head_error),
        ),
    }


def _with_outcome(rows: SyncQuerySet) -> list[tuple[Sync, Outcome]]:
    """The latest syncs, each with what became of it and its builds."""
    latest = outcome.with_builds(rows).order_by("-pk")[:SYNCS_SHOWN]
    return [(row, outcome.of(row)) for row in latest]


@require_POST
def application_sync(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """*Sync now*: a second click joins the sync the first one asked for."""
    sync = pipeline.request_sync(
        _application(namespace, name), Sync.Trigger.MANUAL, _who(request)
    )
    return redirect(sync)


@require_http_methods(["GET", "POST"])
def application_delete(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Say what would stop serving; with POST, remove it."""
    row = _application(namespace, name)
    if request.method == "POST":
        pipeline.remove_application(row)
        messages.success(request, f"{row} is removed. Its functions no longer serve.")
        return redirect("applications")
    declared = Function.objects.declared().filter(application=row)
    context = {"application": row, "functions": serving.with_health(declared)}
    return render(request, "applications/application_delete.html", context)


@require_GET
def sync(request: HttpRequest, pk: int) -> HttpResponse:
    """One sync: fetch, validate, plan, and the builds it asked for."""
    context = _sync_context(get_object_or_404(_syncs(), pk=pk))
    return render(request, "applications/sync.html", context)


@fragment
@require_GET
def sync_part(request: HttpRequest, pk: int) -> HttpResponse:
    """The changing part of the page above."""
    context = _sync_context(get_object_or_404(_syncs(), pk=pk))
    return unless_seen(request, "applications/_sync.html", context)


def _syncs() -> QuerySet[Sync]:
    builds = Build.objects.select_related("function", "reused_from").order_by("pk")
    return Sync.objects.select_related("application", "revision").prefetch_related(
        Prefetch("builds", queryset=builds), Prefetch("awaited", queryset=builds)
    )


def _sync_context(row: Sync) -> dict[str, Any]:
    ended = outcome.of(row)
    functions = _functions_of(row) if ended.is_final else []
    return {
        "sync": row,
        "outcome": ended,
        "builds": ended.builds,
        "steps": _steps(row),
        "functions": functions,
        "is_settled": ended.is_final and not _is_going_live(ended, functions),
        "version": version(
            row.state,
            row.revision_id,
            [(build.pk, build.state) for build in ended.builds],
            [serving.facts(function) for function in functions],
        ),
    }


def _functions_of(row: Sync) -> list[Any]:
    """The functions the sync's commit declares, as they serve now."""
    paths = [change["path"] for change in row.plan]
    declared = Function.objects.declared().filter(application=row.application_id)
    return list(serving.with_health(declared.filter(path__in=paths)))


def _is_going_live(ended: Outcome, functions: list[Any]) -> bool:
    """Whether a build ended a moment ago and is not deployed yet: a page that stopped
    looking now would end without the address."""
    just_now = timezone.now() - timedelta(seconds=10)
    if ended.finished_at is None or ended.finished_at < just_now:
        return False
    live = {function.pk: function.live_build or 0 for function in functions}
    return any(
        build.state == State.SUCCEEDED and live.get(build.function_id, 0) < build.pk
        for build in ended.builds
    )


def _steps(row: Sync) -> dict[str, str]:
    """The state of each stage, told from what the sync has written so far."""
    broken = bool(row.revision and row.revision.problems)
    later = "skipped" if row.is_final else "waiting"
    if row.revision is None:
        return {"fetch": row.state, "validate": later, "plan": later}
    if broken:
        return {"fetch": "succeeded", "validate": "failed", "plan": "skipped"}
    return {"fetch": "succeeded", "validate": "succeeded", "plan": row.state}
