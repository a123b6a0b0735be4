"""Changing an application, and testing a connection before there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from applications import connection
from applications.forms import AddForm, EditForm
from applications.fragments import fragment, unless_seen, version
from applications.models import Application, ConnectionTest

SCHEMA = Path(__file__).parent / "schema" / "application.json"


@login_not_required
@require_GET
def schema(request: HttpRequest) -> HttpResponse:
    """The manifest's JSON Schema, public: editors fetch it for completion."""
    return HttpResponse(SCHEMA.read_bytes(), content_type="application/schema+json")


@fragment
@require_POST
def connection_result(request: HttpRequest) -> HttpResponse:
    """*Test connection* on the form of a new application."""
    form = AddForm(request.POST)
    if not form.is_valid():
        context = {"form": form, "invalid": True}
        return render(request, "applications/_connection.html", context)
    row = connection.ask(form, request.user.get_username(), saves=False)
    return render(request, "applications/_connection.html", tested(row))


@fragment
@require_GET
def connection_part(request: HttpRequest, pk: int) -> HttpResponse:
    """What a test has found so far; the page that comes next once all is saved."""
    row = asked(request, pk)
    if row is None:
        context = {"gone": True, "version": "gone"}
        return unless_seen(request, "applications/_connection.html", context)
    response = unless_seen(request, "applications/_connection.html", tested(row))
    if row.saved:
        response.headers["HX-Redirect"] = row.get_absolute_url()
    return response


def asked(request: HttpRequest, pk: str | int | None) -> ConnectionTest | None:
    """The user's own test of that number."""
    if pk is None or not str(pk).isascii() or not str(pk).isdecimal():
        return None
    rows = ConnectionTest.objects.of(request.user.get_username())
    found: ConnectionTest | None = (
        rows.select_related("edited", "saved").filter(pk=str(pk)[:18]).first()
    )
    return found


def tested(row: ConnectionTest | None) -> dict[str, Any]:
    """What `_connection.html` shows of a test."""
    if row is None:
        return {}
    return {
        "test": row,
        "connection": connection.found(row),
        "version": version(row.pk, row.state),
    }


@require_http_methods(["GET", "POST"])
def application_edit(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Change where an application comes from and how often it is polled."""
    application = get_object_or_404(
        Application.objects.present(), namespace=namespace, name=name
    )
    test = asked(request, request.GET.get("test"))
    if test and test.saved == application:
        return _saved(request, application)
    form = EditForm(
        request.POST or None, instance=application, initial=test.form if test else None
    )
    if request.method == "POST" and form.is_valid():
        action = request.POST.get("action")
        if action == "save_anyway":
            changed: Application = form.save(commit=False)
            changed.next_poll_at = timezone.now()
            changed.save()
            return _saved(request, changed)
        user = request.user.get_username()
        return redirect(connection.ask(form, user, saves=action != "test"))
    context = {"form": form, "application": application, **tested(test)}
    return render(request, "applications/application_edit.html", context)


def _saved(request: HttpRequest, application: Application) -> HttpResponse:
    messages.success(request, "Saved. The next poll is within a minute.")
    return redirect(application)
