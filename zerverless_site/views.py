"""Pages about the whole installation: overview, activity, system, first set-up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.db.models import Case, Count, F, OuterRef, Q, QuerySet, Subquery, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.dateparse import parse_datetime
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import (
    require_GET,
    require_http_methods,
    require_POST,
)

from applications.fragments import fragment, unless_seen, version
from applications.models import Application, Sync, SyncStatus
from applications.work import State
from runtime import history, panels, serving
from zerverless_site import activity as work
from zerverless_site import health, setup
from zerverless_site import system as about

ATTENTION = 8
RECENT = 8
PER_PAGE = 50
THEMES = {"light", "dark"}


@require_GET
def overview(request: HttpRequest) -> HttpResponse:
    """Is everything well, and what happened last?"""
    return render(request, "zerverless_site/overview.html", _overview())


@fragment
@require_GET
def overview_part(request: HttpRequest) -> HttpResponse:
    """The changing part of the overview."""
    return unless_seen(request, "zerverless_site/_overview.html", _overview())


def _overview() -> dict[str, Any]:
    present = Application.objects.present()
    applications = present.aggregate(
        total=Count("pk"),
        out_of_sync=Count("pk", filter=Q(status=SyncStatus.OUT_OF_SYNC)),
        unreachable=Count("pk", filter=~Q(poll_error="")),
    )
    functions = serving.counts()
    attention = list(serving.needing_attention(ATTENTION))
    unwell = list(_unwell(present)[:ATTENTION])
    recent = work.latest(RECENT)
    traffic = panels.brief(history.of_everything())
    return {
        "applications": applications,
        "functions": {state: functions[state] for state in serving.Health},
        "total_functions": functions.total(),
        "attention": attention,
        "unwell": unwell,
        "recent": recent,
        "traffic": traffic,
        "version": version(
            applications,
            traffic,
            sorted(functions.items()),
            [(row.pk, row.status, row.poll_error) for row in unwell],
            [entry.fact for entry in recent],
        ),
    }


def _unwell(applications: QuerySet[Application]) -> QuerySet[Application]:
    """Those that are not what Git says; with `failed_sync`, if the newest failed."""
    newest = Sync.objects.filter(application=OuterRef("pk")).order_by("-pk")
    failed = Case(When(state__in=[State.FAILED, State.ERRORED], then=F("pk")))
    return applications.filter(
        ~Q(poll_error="") | Q(status=SyncStatus.OUT_OF_SYNC)
    ).annotate(failed_sync=Subquery(newest.annotate(bad=failed).values("bad")[:1]))


@require_GET
def activity(request: HttpRequest) -> HttpResponse:
    """What runs, what waits, what ended."""
    return render(request, "zerverless_site/activity.html", _activity(request))


@fragment
@require_GET
def activity_part(request: HttpRequest) -> HttpResponse:
    """The changing part of the page above."""
    return unless_seen(request, "zerverless_site/_activity.html", _activity(request))


def _activity(request: HttpRequest) -> dict[str, Any]:
    before = _moment(request.GET.get("before", ""))
    active = [] if before else work.active()
    finished = work.finished(PER_PAGE + 1, before)
    return {
        "active": active,
        "finished": finished[:PER_PAGE],
        "older": finished[PER_PAGE - 1].at if len(finished) > PER_PAGE else None,
        "before": before,
        "version": version([entry.fact for entry in [*active, *finished]]),
    }


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


@require_GET
def system(request: HttpRequest) -> HttpResponse:
    """Is the platform itself well, and how is it set up?"""
    context = {
        "checks": health.report(),
        "versions": about.versions(),
        "settings": about.effective_settings(),
        "functions_host": settings.ZERVERLESS_FUNCTIONS_HOST,
        "is_sandboxed": settings.ZERVERLESS_FUNCTIONS_SANDBOX,
    }
    return render(request, "zerverless_site/system.html", context)


@require_POST
@login_not_required
def theme(request: HttpRequest) -> HttpResponse:
    """Remember light, dark or the system's own in a cookie, so nothing flashes."""
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
        target = "/-/"
    response = redirect(target)
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        response.set_cookie(
            "zerverless_theme", chosen, max_age=31536000, path="/-/", samesite="Lax"
        )
    else:
        response.delete_cookie("zerverless_theme", path="/-/")
    return response


@login_not_required
@require_http_methods(["GET", "POST"])
def first_setup(request: HttpRequest) -> HttpResponse:
    """Make the first administrator, once, with the link from the log."""
    token = request.POST.get("token") or request.GET.get("token", "")
    if not setup.is_open():
        return redirect("login")
    if not setup.is_token(token):
        return render(request, "zerverless_site/setup_refused.html", {}, status=403)
    form = setup.AdministratorForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        user = setup.claim(token, form)
        if user is None:
            return redirect("login")
        login(request, user)
        return redirect("overview")
    return render(request, "zerverless_site/setup.html", {"form": form, "token": token})
