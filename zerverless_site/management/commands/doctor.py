"""`manage.py doctor`: is the platform itself well?"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from zerverless_site import answering, health

PROBLEMS = 3  # exit code of docs/cli.md


class Command(BaseCommand):
    """Print every check; exit 3 when one found a problem."""

    help = "Check database, disk, Git, Docker, builder and workers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="One JSON list.")
        parser.add_argument(
            "--only",
            choices=["gateway", "web", "worker"],
            help="Only what one container of docker-compose.yml answers for.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        checks = {
            None: lambda: [*answering.all_roles(), *health.report()],
            "gateway": lambda: [answering.gateway()],
            "web": lambda: [answering.web()],
            "worker": health.workers,
        }[options["only"]]()
        if options["json"]:
            self.stdout.write(json.dumps([check.as_dict() for check in checks]))
        else:
            for check in checks:
                mark = "ok  " if check.ok else "FAIL"
                self.stdout.write(f"{mark} {check.name}: {check.summary}")
                if check.hint and not check.ok:
                    self.stdout.write(f"     {check.hint}")
        if not all(check.ok for check in checks):
            raise CommandError("There are problems.", returncode=PROBLEMS)
