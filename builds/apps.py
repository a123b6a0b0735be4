"""An image per change."""

from __future__ import annotations

from django.apps import AppConfig


class BuildsConfig(AppConfig):
    """Builds and their logs."""

    name = "builds"
