"""What Git says should exist."""

from __future__ import annotations

from django.apps import AppConfig


class ApplicationsConfig(AppConfig):
    """Applications, revisions, functions and syncs."""

    name = "applications"
