"""`manage.py add_registry`: credentials for a registry that parent images come from."""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from builds.forms import CredentialForm

USAGE = 2  # an exit code of docs/cli.md


class Command(BaseCommand):
    """The password is asked for, or read from standard input: arguments can be seen by
    everybody on the machine."""

    help = "Store credentials for a registry; the password is read, never an argument."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", required=True, help="registry.example.org:5000")
        parser.add_argument("--username", required=True)
        parser.add_argument(
            "--namespace", default="", help="Whose builds; left out: everybody's."
        )
        parser.add_argument(
            "--no-check",
            action="store_true",
            help="Store them without trying them at the registry.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = ("host", "username", "namespace")
        data = {name: options[name] for name in names}
        form = CredentialForm({**data, "password": _password()})
        is_tried = form.is_valid() and not options["no_check"]
        if is_tried and (problem := form.check_with_registry()):
            self.stderr.write(f"Not tried: {problem}")
        if not form.is_valid():
            raise CommandError(_lines(form), returncode=USAGE)
        form.save()
        whose = options["namespace"] or "all namespaces"
        self.stderr.write(f"Stored, for the builds of {whose}.")
        self.stdout.write(form.cleaned_data["host"])


def _password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    return sys.stdin.readline().rstrip("\r\n")


def _lines(form: CredentialForm) -> str:
    """One line per wrong value, in the command's own words."""
    password = {"password": "the password"}
    return "\n".join(
        f"{password.get(field, f'--{field}')}: {' '.join(map(str, said))}"
        for field, said in form.errors.items()
    )
