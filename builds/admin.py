"""The admin of builds: history, read only; the log is read on the build's page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from applications.admin import ReadOnly
from builds.models import Build, BuildLogChunk, Registry, RegistryCredential


@admin.register(Build)
class BuildAdmin(ReadOnly):
    """Attempts to make an image."""

    list_display = ["pk", "function", "state", "image_tag", "queued_at"]
    list_filter = ["state"]
    list_select_related = ["function"]
    search_fields = ["image_tag", "image_id"]
    exclude = ["lease_token"]


@admin.register(BuildLogChunk)
class BuildLogChunkAdmin(ReadOnly):
    """Where the pieces of logs are; their text is never loaded here."""

    list_display = ["pk", "build_id", "first_line", "line_count"]
    exclude = ["text"]

    def get_queryset(self, request: HttpRequest) -> Any:
        """A log of ten megabytes has no place in an admin page."""
        rows = super().get_queryset(request)
        return rows.defer("text").select_related("build__function")


@admin.register(Registry)
class RegistryAdmin(ReadOnly):
    """Hosts that have or had credentials."""

    list_display = ["host"]


@admin.register(RegistryCredential)
class RegistryCredentialAdmin(ReadOnly):
    """Stored and removed on the dashboard's page, which tries them first; what is
    stored of a password is in no page."""

    list_display = ["registry", "namespace", "username", "changed_at"]
    list_select_related = ["registry"]
    exclude = ["encrypted_password"]
