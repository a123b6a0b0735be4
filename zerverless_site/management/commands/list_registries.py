"""`manage.py list_registries`: which credentials there are, without their passwords."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from builds.models import RegistryCredential


class Command(BaseCommand):
    """One line each: host, namespace, user."""

    help = "List the registries there are credentials for."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = [
            {
                "host": row.registry.host,
                "namespace": row.namespace,
                "username": row.username,
                "changed_at": row.changed_at.isoformat(timespec="seconds"),
            }
            for row in RegistryCredential.objects.select_related("registry")
        ]
        if options["json"]:
            self.stdout.write(json.dumps(rows))
            return
        for row in rows:
            whose = row["namespace"] or "all namespaces"
            self.stdout.write(f"{row['host']}\t{whose}\t{row['username']}")
