"""`manage.py validate_manifest PATH`: every problem of a manifest, before the push."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from applications import manifest
from applications.compose import SIZE_MAX
from applications.errors import ManifestError, Problem
from applications.spec import FunctionSpec

PROBLEMS, NOT_FOUND = 3, 4  # exit codes of docs/cli.md


class Command(BaseCommand):
    """Print problems one per line on standard output; exit 3 when there are any."""

    help = "Check a manifest: every problem with its line and column."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, metavar="PATH")
        parser.add_argument("--json", action="store_true", help="One JSON object.")
        parser.add_argument(
            "--namespace", help="The one the application is registered in."
        )

    def handle(self, *args: Any, path: Path, **options: Any) -> None:
        report = _report(_content(path), str(path), options["namespace"])
        if options["json"]:
            self.stdout.write(json.dumps(report.as_dict()))
        else:
            self._print(report)
        if report.problems:
            count = len(report.problems)
            raise CommandError(
                f"{count} problem{'s' if count > 1 else ''}.", returncode=PROBLEMS
            )
        self.stderr.write(f"{path} is good; functions: {len(report.functions)}.")

    def _print(self, report: _Report) -> None:
        for problem in report.problems:
            self.stdout.write(str(problem))
        for warning in report.warnings:
            self.stderr.write(f"warning: {warning}")


@dataclass(frozen=True)
class _Report:
    problems: list[Problem]
    warnings: list[Problem]
    functions: list[FunctionSpec]

    def as_dict(self) -> dict[str, Any]:
        return {
            "valid": not self.problems,
            "problems": [problem.as_dict() for problem in self.problems],
            "warnings": [warning.as_dict() for warning in self.warnings],
            "functions": [spec.as_dict() for spec in self.functions],
        }


def _report(data: bytes, filename: str, namespace: str | None) -> _Report:
    try:
        parsed = manifest.parse(data, filename=filename, namespace=namespace)
    except ManifestError as error:
        return _Report(error.problems, [], [])
    return _Report([], list(parsed.warnings), list(parsed.functions))


def _content(path: Path) -> bytes:
    """The file's bytes, one more than allowed at most; raises CommandError."""
    # A named pipe would be waited for, without end.
    if path.exists() and not path.is_file():
        raise CommandError(f"{path} is not a file.", returncode=NOT_FOUND)
    try:
        with path.open("rb") as file:
            return file.read(SIZE_MAX + 1)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}."
        raise CommandError(message, returncode=NOT_FOUND) from error
