"""What every page says on top when the platform itself is not well."""

from __future__ import annotations

from collections.abc import Callable

from django.core.cache import cache
from django.http import HttpRequest

from zerverless_site import health

# Looking takes a call to Docker; not every page of every tab needs its own.
CACHED_SECONDS = 15
THEMES = ("light", "dark")
URGENT = ("worker control", "worker builds", "docker", "disk")


def banners(request: HttpRequest) -> dict[str, Callable[[], list[str]] | str]:
    """Template context: sentences for the banner, most urgent first, and the theme.

    Fragments never ask for `banners`, so polling does not cost a check.
    """
    theme = request.COOKIES.get("zerverless_theme", "")
    return {"banners": _sentences, "theme": theme if theme in THEMES else ""}





def _sentences() -> list[str]:
    found: list[str] | None = cache.get("banners")
    if found is None:
        failed = {check.name: check for check in health.report() if not check.ok}
        found = [
            f"{name.capitalize()}: {failed[name].summary}. {failed[name].hint}"
            for name in URGENT
            if name in failed
        ]
        cache.set("banners", found, CACHED_SECONDS)
    return found
