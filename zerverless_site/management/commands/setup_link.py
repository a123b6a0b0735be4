"""Print the address that makes the first administrator."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from zerverless_site import setup


class Command(BaseCommand):
    """Prints the set-up link again; exit status 5 when there is an administrator."""

    help = "Print the one-time link that makes the first administrator."

    def handle(self, *args: Any, **options: Any) -> None:
        address = setup.link()
        if address is None:
            raise CommandError(
                "There is an administrator already: log in, or use "
                "`manage.py changepassword`.",
                returncode=5,
            )
        self.stdout.write(address)
