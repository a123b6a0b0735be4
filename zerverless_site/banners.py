"""What every page says on top when the platform itself is not well."""

from __future__ import annotations

from django.http import HttpRequest


def banners(request: HttpRequest) -> dict[str, list[str]]:
    """Template context: sentences for the banner, most urgent first."""
    return {"banners": []}
