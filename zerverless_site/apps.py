"""The composition root: settings, URLs, pipeline, schedules, pages that mix apps."""

from __future__ import annotations

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Installs what needs all three apps."""

    name = "zerverless_site"
    verbose_name = "Zerverless"
