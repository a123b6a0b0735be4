"""The admin of what Git says. History can be read here, and only read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from applications.models import Application, Function, Revision, Sync
from applications.work import Cluster


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows the platform writes: an edit would make its records disagree."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Application)
class ApplicationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Editable, under the model's own validators; removed on its dashboard page,
    which also takes its functions off the air."""

    list_display = ["__str__", "repo_url", "branch", "status", "checked_at"]
    list_filter = ["status", "auto_deploy"]
    search_fields = ["namespace", "name", "repo_url"]
    readonly_fields = ["status", "head_sha", "checked_at", "poll_error", "removed_at"]

    def get_readonly_fields(
        self, request: HttpRequest, obj: Application | None = None
    ) -> list[str]:
        """Namespace and name are part of addresses: they stay."""
        fixed = ["namespace", "name"] if obj else []
        return [*fixed, *self.readonly_fields]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Function)
class FunctionAdmin(ReadOnly):
    """Declared by a manifest, never by hand."""

    list_display = ["__str__", "application", "created_at", "retired_at"]
    list_select_related = ["application"]
    search_fields = ["namespace", "path"]


@admin.register(Revision)
class RevisionAdmin(ReadOnly):
    """Observed commits."""

    list_display = ["short_sha", "application", "subject", "author", "observed_at"]
    list_select_related = ["application"]
    search_fields = ["sha", "subject"]

    def get_queryset(self, request: HttpRequest) -> Any:
        """A list must not load every manifest."""
        return super().get_queryset(request).defer("manifest", "problems", "warnings")


@admin.register(Sync)
class SyncAdmin(ReadOnly):
    """Attempts to bring what is live to a commit."""

    list_display = ["pk", "application", "state", "trigger", "queued_at"]
    list_filter = ["state", "trigger"]
    list_select_related = ["application"]
    exclude = ["lease_token"]


@admin.register(Cluster)
class ClusterAdmin(ReadOnly):
    """When each cluster of workers last worked."""

    list_display = ["name", "asked_at", "beat_at"]
