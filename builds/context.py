"""The build context as a tar: what Git has at a commit, and nothing else.

The files come from Git's objects, so `.git`, devices, sockets and anything outside the
repository cannot be in it; links are stored as links. The same commit gives the same
bytes.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from applications.errors import GitError
from applications.repository import Entry, Snapshot
from builds.dockerfile import frontend, without_frontend
from builds.dockerignore import Ignore
from builds.errors import BuildError

TEXT_MAX = 1 << 20  # a Dockerfile or .dockerignore larger than this is none
IGNORE = ".dockerignore"
IGNORED_MAX = 5  # times the most files there may be, before .dockerignore
# The Dockerfile's name in the tar when it lies outside the context.
OUTSIDE = ".zerverless.Dockerfile"


@dataclass(frozen=True)
class Limits:
    """Most bytes (uncompressed) and most files a context may have."""

    size: int
    files: int


@dataclass
class Context:
    """What goes into the tar, decided before the first byte is written."""

    snapshot: Snapshot
    dockerfile: str
    dockerfile_text: str
    entries: list[Entry] = field(default_factory=list)
    submodules: list[str] = field(default_factory=list)
    ignored: int = 0
    size: int = 0

    @property
    def frontend(self) -> str:
        """The image `# syntax=` asks for, or an empty string."""
        found = frontend(self.dockerfile_text)
        return found.image if found else ""


def survey(snapshot: Snapshot, context: str, file: str, limits: Limits) -> Context:
    """Decide what the build gets; both paths are relative to the repository root.

    Raises GitError for a path that is missing or a link, BuildError for a context over
    its limits, a foreign `# syntax=` or a bad `.dockerignore`.
    """
    root, file = _normal(context), _normal(file)
    inside = _below(root, file)
    text = _text(snapshot, file)
    frontend(text, file)  # a foreign frontend is refused before anything is packed
    found = Context(snapshot, inside or OUTSIDE, text)
    entries = _entries(snapshot, context, limits)
    ignore_name, ignore = _ignore(snapshot, root, file, entries)
    for name, entry in entries.items():
        if name not in (inside, ignore_name) and ignore.excludes(name):
            found.ignored += 1
        elif entry.kind == "submodule":
            found.submodules.append(name)
        else:
            _take(found, entry, limits)
    return found


def pack(context: Context, file: BinaryIO, when: int, *, builtin: bool = False) -> None:
    """Write the tar.

    `when` is the files' time in Unix seconds: the commit's, because web servers derive
    ETag and Last-Modified from it. With `builtin` the Dockerfile's `# syntax=` is
    neutralised.
    """
    text = context.dockerfile_text
    plain = without_frontend(text) if builtin else text
    body = plain.encode("utf-8", "surrogateescape")
    # GNU format: names of any length and any bytes.
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8"
    ) as tar:
        for entry in context.entries:
            if entry.path != context.dockerfile:
                _add(tar, context.snapshot, entry, when)
        tar.addfile(_info(context.dockerfile, len(body), when), io.BytesIO(body))


def _entries(snapshot: Snapshot, path: str, limits: Limits) -> dict[str, Entry]:
    """Everything below a directory by its name, in order; ignored files count too."""
    found: dict[str, Entry] = {}
    for entry in snapshot.entries(path):
        found[entry.path] = entry
        if len(found) > IGNORED_MAX * limits.files:
            raise _too_many(limits)
    return dict(sorted(found.items()))


def _take(found: Context, entry: Entry, limits: Limits) -> None:
    found.entries.append(entry)
    found.size += entry.size
    if len(found.entries) > limits.files:
        raise _too_many(limits)
    if found.size > limits.size:
        raise BuildError(
            f"The context is larger than {limits.size / (1 << 20):,.0f} MiB "
            "(ZERVERLESS_CONTEXT_MAX): leave something out with .dockerignore.",
            "build:context",
        )


def _too_many(limits: Limits) -> BuildError:
    return BuildError(
        f"The context has more than {limits.files:,} files "
        "(ZERVERLESS_CONTEXT_FILES_MAX): leave some out with .dockerignore, or choose "
        "a directory further down as context.",
        "build:context",
    )


def _add(tar: tarfile.TarFile, snapshot: Snapshot, entry: Entry, when: int) -> None:
    if entry.kind == "link":
        info = _info(entry.path, 0, when)
        info.type, info.mode = tarfile.SYMTYPE, 0o777
        info.linkname = os.fsdecode(snapshot.link_target(entry))
        tar.addfile(info)
        return
    info = _info(entry.path, entry.size, when)
    info.mode = 0o755 if entry.executable else 0o644
    with snapshot.open(entry) as content:
        tar.addfile(info, content)


def _info(name: str, size: int, when: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, when, 0o644
    return info


def _ignore(
    snapshot: Snapshot, root: str, file: str, entries: Mapping[str, Entry]
) -> tuple[str, Ignore]:
    """The ignore file that counts and its name in the context, as Docker chooses."""
    beside = f"{file}.dockerignore"
    for name, path in ((_below(root, beside), beside), (IGNORE, f"{root}/{IGNORE}")):
        if name and name not in entries:
            continue
        try:
            return name, Ignore(_text(snapshot, path), path)
        except GitError:
            # Outside the context it may be absent; a link is refused, never followed.
            if name:
                raise
    return "", Ignore("")


def _text(snapshot: Snapshot, path: str) -> str:
    return snapshot.read(path, TEXT_MAX).decode("utf-8", "surrogateescape")


def _normal(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _below(root: str, path: str) -> str:
    """`path` relative to `root`, or an empty string when it is not below it."""
    if not root:
        return path
    return path.removeprefix(f"{root}/") if path.startswith(f"{root}/") else ""
