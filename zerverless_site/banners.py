"""What every page says on top when the platform itself is not well."""

from __future__ import annotations

from collections.abc import Callable

from django.core.cache import cache
from django.http import HttpRequest

from zerverless_site import health

# Looking takes a call to Docker; not every page of every tab needs its own.
CACHED_SECONDS = 15
THEMES = ("light", "dark")
# Check -> what it means for the person who looks; the System page has the details.
MEANING = {
    "worker control": "The control worker does not answer: polls and syncs wait.",
    "worker builds": "The build worker does not answer: builds wait.",
    "docker": "Docker does not answer: nothing is built, and functions cannot start.",
    "disk": "The disk is nearly full: no build starts.",
}


def banners(request: HttpRequest) -> dict[str, Callable[[], list[str]] | str]:
    """Template context: sentences for the banner, most urgent first, and the theme.

    Fragments never ask for `banners`, so polling does not cost a check.
    """
    theme = request.COOKIES.get("zerverless_theme", "")
    return {"banners": _sentences, "theme": theme if theme in THEMES else ""}


def _sentences() -> list[str]:
    found: list[str] | None = cache.get("banners")
    if found is None:
        failed = {check.name for check in health.report() if not check.ok}
        found = [text for name, text in MEANING.items() if name in failed]
        cache.set("banners", found, CACHED_SECONDS)
    return found
