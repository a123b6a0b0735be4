"""`manage.py sync_application NAMESPACE/NAME`: Sync now, from a script."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from applications.models import Application, Sync
from zerverless_site import follow, pipeline

NOT_FOUND, FAILED_CHECKS, TIMED_OUT = 4, 3, 6  # exit codes of docs/cli.md


class Command(BaseCommand):
    """Request a sync; with --wait, stay until its commit is live, or will not be."""

    help = "Sync an application with its repository now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("application", help="NAMESPACE/NAME")
        add_wait_arguments(parser)

    def handle(self, *args: Any, application: str, **options: Any) -> None:
        try:
            found = Application.objects.named(application)
        except Application.DoesNotExist as error:
            known = ", ".join(map(str, Application.objects.present()[:10])) or "none"
            raise CommandError(
                f"There is no application {application}. There are: {known}.",
                returncode=NOT_FOUND,
            ) from error
        sync = pipeline.request_sync(found, Sync.Trigger.COMMAND)
        report_sync(self, found, sync, options)


def add_wait_arguments(parser: CommandParser) -> None:
    """--wait, --timeout and --json, the same for every command that starts a sync."""
    parser.add_argument("--wait", action="store_true", help="Until it has ended.")
    parser.add_argument(
        "--timeout", type=float, default=900, help="Seconds --wait stays (900)."
    )
    parser.add_argument("--json", action="store_true", help="The result as JSON.")


def report_sync(
    command: BaseCommand, application: Application, sync: Sync, options: dict[str, Any]
) -> None:
    """Wait if asked, print the result, and end with the exit code it deserves."""
    ok = True
    if options["wait"]:
        try:
            ok = follow.follow(sync, command.stderr.write, options["timeout"])
        except follow.StillRunning as error:
            raise CommandError(
                f"{sync} has not ended after {options['timeout']:.0f} s; it goes on.",
                returncode=TIMED_OUT,
            ) from error
    result = follow.result(application, sync)
    if options["json"]:
        command.stdout.write(json.dumps(result))
    else:
        command.stdout.write(f"{sync}: {result['state']}")
        for row in follow.live_lines(result):
            command.stdout.write(row)
    if not ok:
        raise CommandError("Not everything went live.", returncode=FAILED_CHECKS)
