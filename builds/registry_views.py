"""The page of registries: which credentials there are, adding and removing them."""

from __future__ import annotations

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from builds.forms import CredentialForm
from builds.models import RegistryCredential


@require_http_methods(["GET", "POST"])
def registries(request: HttpRequest) -> HttpResponse:
    """All credentials, without their passwords; staff may store more."""
    form = CredentialForm(request.POST or None)
    if request.method == "POST":
        _check_is_staff(request)
        untried = form.check_with_registry() if form.is_valid() else ""
        if form.is_valid():
            form.save()
            if untried:
                messages.warning(request, f"Stored, but not tried: {untried}")
            else:
                host = form.cleaned_data["host"]
                messages.success(request, f"Stored: {host} takes them.")
            return redirect("registries")
    rows = RegistryCredential.objects.select_related("registry")
    context = {"form": form, "credentials": rows}
    return render(request, "builds/registries.html", context)


@require_POST
def registry_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget one; builds that began with it end with it."""
    _check_is_staff(request)
    row = get_object_or_404(RegistryCredential, pk=pk)
    row.delete()
    messages.success(request, f"Removed the credentials of {row}.")
    return redirect("registries")


def _check_is_staff(request: HttpRequest) -> None:
    """They decide what everybody's builds may read."""
    if not getattr(request.user, "is_staff", False):
        raise PermissionDenied
