"""The admin of what is live: history, read only."""

from __future__ import annotations

from django.contrib import admin

from applications.admin import ReadOnly
from runtime.models import (
    Deployment,
    Gateway,
    Installation,
    Instance,
    Invocation,
    TrafficMinute,
)


@admin.register(Deployment)
class DeploymentAdmin(ReadOnly):
    """What serves and what served."""

    list_display = ["__str__", "is_live", "commit", "image_tag", "created_at"]
    list_filter = ["is_live"]
    list_select_related = ["function"]
    search_fields = ["function__namespace", "function__path", "commit", "image_id"]


@admin.register(Invocation)
class InvocationAdmin(ReadOnly):
    """Requests functions served."""

    list_display = ["id", "function", "method", "path", "status", "started_at"]
    list_filter = ["status"]
    list_select_related = ["function"]
    search_fields = ["id", "path"]


@admin.register(Gateway)
class GatewayAdmin(ReadOnly):
    """Gateway processes and their heartbeats."""

    list_display = ["id", "pid", "started_at", "heartbeat_at"]


@admin.register(Instance)
class InstanceAdmin(ReadOnly):
    """Running instances, as their gateways saw them a moment ago."""

    list_display = ["name", "deployment", "state", "in_flight", "started_at"]
    list_filter = ["state"]
    list_select_related = ["deployment__function"]


@admin.register(TrafficMinute)
class TrafficMinuteAdmin(ReadOnly):
    """What was counted of each function, minute by minute."""

    list_display = ["function", "minute", "requests", "function_errors"]
    list_select_related = ["function"]


@admin.register(Installation)
class InstallationAdmin(ReadOnly):
    """The one row that names this installation."""

    list_display = ["name", "routes_version"]
