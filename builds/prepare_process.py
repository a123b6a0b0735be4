"""The process of its own (builds/prepare.py): `python -m builds.prepare_process`.

It reads its order from standard input, writes the tar and, as JSON, how it went.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import sys
from dataclasses import asdict
from typing import BinaryIO

from django.conf import settings

from applications import repository
from applications.errors import GitUnavailable, UserError, ZerverlessError
from builds import context
from builds.dockerfile import frontend
from builds.errors import BuildError
from builds.prepare import Order, Prepared


def main() -> int:
    order, values, (tar, answer) = pickle.load(sys.stdin.buffer)  # noqa: S301 - ours
    settings.configure(**values)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (order.memory, hard))
    with os.fdopen(answer, "w") as told:
        try:
            with os.fdopen(tar, "wb") as file:
                json.dump(asdict(_prepare(order, file)), told)
        except ZerverlessError as error:
            json.dump(_as_told(error), told)
            return 1
        except (MemoryError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOMEM:
                raise
            json.dump(_as_told(_too_much()), told)
            return 1
    return 0


def _prepare(order: Order, file: BinaryIO) -> Prepared:
    # It is cached, unless the cache was lost since the commit was observed.
    repository.fetch(order.url, order.sha, order.branch)
    with repository.open_snapshot(order.url, order.sha) as snapshot:
        found = context.survey(snapshot, order.context, order.dockerfile, order.limits)
        asked = frontend(found.dockerfile_text)
        outdated = asked.image if asked and not asked.is_current else ""
        builtin = order.builtin or bool(outdated)
        context.pack(found, file, order.when, builtin=builtin)
    return Prepared(
        found.dockerfile,
        found.dockerfile_text,
        builtin,
        outdated,
        len(found.entries),
        found.size,
        found.ignored,
        found.submodules,
    )


def _too_much() -> BuildError:
    return BuildError(
        "Preparing the context takes too much memory: leave files out, or shorten "
        ".dockerignore.",
        "build:context",
    )


def _as_told(error: ZerverlessError) -> dict[str, str]:
    if isinstance(error, BuildError):
        kind = "build"
    elif isinstance(error, UserError):
        kind = "git"
    else:
        kind = "unavailable" if isinstance(error, GitUnavailable) else "engine"
    step = getattr(error, "step", "")
    return {"kind": kind, "message": error.message, "code": error.code, "step": step}


if __name__ == "__main__":
    raise SystemExit(main())
