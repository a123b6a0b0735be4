"""Compares what a commit declares with what is live. Pure: no database, no Git."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from applications.spec import FunctionSpec


class Kind(StrEnum):
    """What has to happen to one function."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    RETIRE = "retire"


@dataclass(frozen=True)
class Desired:
    """A declared function; `key` digests everything its image is made of.

    Where `problem` says why no image can be made of it, there is no key.
    """

    spec: FunctionSpec
    key: str
    problem: str = ""


@dataclass(frozen=True)
class Live:
    """What serves, or will: the inputs of the active build, else of the live one."""

    key: str
    config: dict[str, Any]
    build: int | None = None  # the active build, if there is one


@dataclass(frozen=True)
class Change:
    """One line of the plan, with the reason in words."""

    kind: Kind
    path: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def plan(desired: Sequence[Desired], live: Mapping[str, Live | None]) -> list[Change]:
    """One Change per path, sorted; `live` maps each known function's path."""
    changes = [_change(item, live) for item in desired]
    declared = {item.spec.path for item in desired}
    changes += [
        Change(Kind.RETIRE, path, "no longer in the manifest")
        for path in live
        if path not in declared
    ]
    return sorted(changes, key=lambda change: change.path)


def _change(item: Desired, live: Mapping[str, Live | None]) -> Change:
    path = item.spec.path
    if path not in live:
        return Change(Kind.CREATE, path, "new in the manifest")
    now = live[path]
    if now is None:
        return Change(Kind.UPDATE, path, "nothing serves yet")
    if now.key != item.key:
        return Change(Kind.UPDATE, path, "its files changed")
    if now.config != item.spec.config():
        return Change(Kind.UPDATE, path, "its settings changed")
    return Change(Kind.KEEP, path, "unchanged")
