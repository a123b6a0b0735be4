"""Changing an application, and testing a connection before there is one."""

from __future__ import annotations

from pathlib import Path

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from applications import connection
from applications.connection import Connection
from applications.forms import AddForm, EditForm
from applications.fragments import fragment
from applications.models import Application

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
    context = {"form": form, "connection": tested(form, form.cleaned_data["namespace"])}
    return render(request, "applications/_connection.html", context)


def tested(form: EditForm, namespace: str) -> Connection:
    """Test what a valid form says."""
    data = form.cleaned_data
    return connection.test(
        data["repo_url"], data["branch"], data["manifest_path"], namespace
    )


@require_http_methods(["GET", "POST"])
def application_edit(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Change where an application comes from and how often it is polled."""
    application = get_object_or_404(
        Application.objects.present(), namespace=namespace, name=name
    )
    form = EditForm(request.POST or None, instance=application)
    result: Connection | None = None
    if request.method == "POST" and form.is_valid():
        action = request.POST.get("action")
        result = None if action == "save_anyway" else tested(form, namespace)
        if action != "test" and (result is None or result.is_good):
            changed: Application = form.save(commit=False)
            changed.next_poll_at = timezone.now()
            changed.save()
            messages.success(request, "Saved. The next poll is within a minute.")
            return redirect(changed)
    context = {"form": form, "application": application, "connection": result}
    return render(request, "applications/application_edit.html", context)
