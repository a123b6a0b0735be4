"""Compile every template, so that a broken one fails `make lint` and not a page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template import TemplateSyntaxError
from django.template.loader import get_template


class Command(BaseCommand):
    """Prints how many templates compile; exit status 1 when one does not."""

    help = "Compile every template of the project."

    def handle(self, *args: Any, **options: Any) -> None:
        root = settings.BASE_DIR / "templates"
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*.html"))
        broken = [problem for name in names if (problem := _problem(name))]
        if broken:
            raise CommandError("\n".join(broken))
        self.stdout.write(f"{len(names)} templates compile.")


def _problem(name: str) -> str:
    try:
        get_template(name)
    except TemplateSyntaxError as error:
        return f"{name}: {error}"
    return ""
