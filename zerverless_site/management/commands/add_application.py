"""`manage.py add_application`: register a repository, as the form does."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from applications.models import Application, Sync
from zerverless_site import pipeline
from zerverless_site.management.commands.sync_application import (
    add_wait_arguments,
    report_sync,
)

USAGE, CONFLICT = 2, 5  # exit codes of docs/cli.md


class Command(BaseCommand):
    """Register an application; with --sync start its first sync at once."""

    help = "Register a Git repository as an application."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--namespace", required=True)
        parser.add_argument("--repo", required=True, metavar="URL")
        parser.add_argument("--branch", default="main")
        parser.add_argument("--name", help="Default: the last part of the URL.")
        parser.add_argument("--manifest", default="zerverless.yaml", metavar="PATH")
        parser.add_argument("--interval", type=int, metavar="SECONDS")
        parser.add_argument("--sync", action="store_true", help="Sync at once.")
        add_wait_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        application = Application(
            namespace=options["namespace"],
            name=options["name"] or _name_in(options["repo"]),
            repo_url=options["repo"],
            branch=options["branch"],
            manifest_path=options["manifest"],
            poll_interval=options["interval"],
        )
        if Application.objects.present().filter(
            namespace=application.namespace, name=application.name
        ):
            raise CommandError(f"{application} exists already.", returncode=CONFLICT)
        try:
            application.save()
        except ValidationError as error:
            raise CommandError(_lines(error), returncode=USAGE) from error
        except IntegrityError as error:
            raise CommandError(
                f"{application} exists already.", returncode=CONFLICT
            ) from error
        self.stderr.write(f"{application} is registered.")
        if options["sync"] or options["wait"]:
            sync = pipeline.request_sync(application, Sync.Trigger.COMMAND)
            report_sync(self, application, sync, options)
        elif options["json"]:
            self.stdout.write(f'{{"application": "{application}"}}')
        else:
            self.stdout.write(str(application))


def _name_in(url: str) -> str:
    """The repository's name, as people expect it from its URL."""
    return url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git").lower()


def _lines(error: ValidationError) -> str:
    """One line per wrong option, in the command's own words."""
    options = {"repo_url": "--repo", "manifest_path": "--manifest"}
    return "\n".join(
        f"{options.get(field, f'--{field}')}: {' '.join(messages)}"
        for field, messages in error.message_dict.items()
    )
