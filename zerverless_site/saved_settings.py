"""The settings `serve` runs with, saved for the commands that are run beside it.

Without them `manage.py add_application` in a second terminal would work with other
settings than the platform it talks about: another database, other Git protocols.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, MutableMapping, Sequence
from pathlib import Path

NAME = "settings.json"
# `serve` and what it starts get their settings from nobody but their environment, and
# `check` is there to judge an environment.
_OWN = frozenset({"serve", "check", "test"})
# Needed once, at the first start, and by no command.
_LEFT_OUT = frozenset({"ZERVERLESS_ADMIN_PASSWORD", "ZERVERLESS_DATA_DIR"})


def save(
    data_dir: Path, names: Iterable[str], environment: MutableMapping[str, str]
) -> None:
    """Write which of the settings `names` the environment gives, and their values.

    Only this user may read the file: a database's password can be among them.
    """
    wanted = [name for name in names if name not in _LEFT_OUT]
    wanted += [f"{name}_FILE" for name in wanted]
    given = {name: environment[name] for name in wanted if name in environment}
    target = data_dir / NAME
    fresh = target.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(given, file, indent=1)
    fresh.replace(target)


def adopt(
    environment: MutableMapping[str, str], default_dir: Path, argv: Sequence[str]
) -> None:
    """Give a command the settings of the last `serve`, beneath its own environment."""
    if "ZERVERLESS_PROCESS" in environment or not _OWN.isdisjoint(argv[1:2]):
        return
    path = _data_dir(environment, default_dir) / NAME
    for name, value in _read(path).items():
        plain = name.removesuffix("_FILE")
        if plain not in environment and f"{plain}_FILE" not in environment:
            environment[name] = value


def _data_dir(environment: MutableMapping[str, str], default: Path) -> Path:
    if given := environment.get("ZERVERLESS_DATA_DIR"):
        return Path(given)
    if named := environment.get("ZERVERLESS_DATA_DIR_FILE"):
        try:
            return Path(Path(named).read_text().strip())
        except OSError:
            return default  # the settings themselves say what is wrong with it
    return default


def _read(path: Path) -> dict[str, str]:
    """Names and values in the file; nothing where it is missing or not ours to read."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        sys.stderr.write(
            f"The settings that `serve` saved in {path} cannot be read ({error}): only "
            "this command's environment and the defaults apply.\n"
        )
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}
