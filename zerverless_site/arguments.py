"""Arguments of management commands, before anything reads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

USAGE = 2  # exit code of docs/cli.md


def check(arguments: Sequence[str]) -> None:
    """Exit with one line when an argument is no UTF-8: no database could store it."""
    for number, argument in enumerate(arguments[1:], start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            shown = ascii(argument[:60])
            sys.stderr.write(f"Argument {number} is not valid UTF-8: {shown}\n")
            raise SystemExit(USAGE) from None
