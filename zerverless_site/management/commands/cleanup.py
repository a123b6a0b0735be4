"""`manage.py cleanup`: free images, containers and rows nothing needs any more."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from applications.errors import PlatformError
from runtime import cleanup


class Command(BaseCommand):
    """The scheduled cleanup by hand; --dry-run names everything first."""

    help = "Remove images, containers and rows that nothing needs any more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep",
            type=int,
            default=settings.ZERVERLESS_KEEP_IMAGES,
            help="Latest images kept per function; live ones always stay.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only name it.")
        parser.add_argument("--json", action="store_true", help="The result as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keep"] < 1:
            raise CommandError("--keep must be 1 or more.", returncode=2)
        try:
            survey = cleanup.survey(options["keep"])
            plan = survey.as_dict()
            done = plan if options["dry_run"] else cleanup.sweep(survey)
        except PlatformError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(done))
            return
        verb = "would remove" if options["dry_run"] else "removed"
        for image in done["images"]:
            self.stdout.write(f"{verb} image {image['tag']} {image['id'][:19]}")
        for name in done["containers"]:
            self.stdout.write(f"{verb} container {name}")
        for name, count in done["rows"].items():
            self.stdout.write(f"{verb} {count} {name}")
        self.stdout.write(f"{done['bytes'] / 2**20:.1f} MiB")
