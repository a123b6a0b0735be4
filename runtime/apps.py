"""What is live."""

from __future__ import annotations

from django.apps import AppConfig


class RuntimeConfig(AppConfig):
    """Deployments, invocations and gateways."""

    name = "runtime"
