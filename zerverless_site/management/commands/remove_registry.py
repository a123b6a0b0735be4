"""`manage.py remove_registry`: forget credentials for a registry."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds import references
from builds.models import RegistryCredential

NOT_FOUND = 4  # an exit code of docs/cli.md


class Command(BaseCommand):
    """Builds that began with them end with them; the next one has none."""

    help = "Forget the credentials of a namespace, or everybody's, for a registry."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", required=True)
        parser.add_argument("--namespace", default="", help="Left out: everybody's.")

    def handle(self, *args: Any, **options: Any) -> None:
        host = references.registry(options["host"])
        found = RegistryCredential.objects.filter(
            registry__host=host, namespace=options["namespace"]
        )
        if not found.delete()[0]:
            whose = options["namespace"] or "all namespaces"
            raise CommandError(
                f"There are no credentials for {host} and {whose}.",
                returncode=NOT_FOUND,
            )
        self.stderr.write("Removed.")
