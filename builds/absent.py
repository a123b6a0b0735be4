"""What a commit names and does not hold: submodules, and files that Git LFS keeps."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO

from builds.errors import BuildError

POINTER = b"version https://git-lfs.github.com/spec/v1\n"
POINTER_MAX = 1024  # bytes, by the specification
NAMED_MAX = 3


def explained(
    error: BuildError, submodules: Sequence[str], tar: BinaryIO
) -> BuildError:
    """The error of a build, with what was not there; itself when all of it was."""
    absent = [
        *_named("submodule", submodules),
        *_named("Git LFS file", list(islice(_pointers(tar), NAMED_MAX + 1))),
    ]
    if not absent:
        return error
    reason = error.message.rstrip(".")
    message = f"{reason}. Not fetched, so not in the build: {', '.join(absent)}."
    return BuildError(message, error.code, error.step)


def _pointers(tar: BinaryIO) -> Iterator[str]:
    """Files of which the commit holds only a note where LFS keeps their content."""
    tar.seek(0)
    with tarfile.open(fileobj=tar, mode="r:") as archive:
        for member in archive:
            if member.isfile() and len(POINTER) < member.size < POINTER_MAX:
                file = archive.extractfile(member)
                if file and file.read(len(POINTER)) == POINTER:
                    yield member.name


def _named(kind: str, paths: Sequence[str]) -> list[str]:
    names = [f"{kind} {path}" for path in paths[:NAMED_MAX]]
    return [*names, f"more {kind}s"] if len(paths) > NAMED_MAX else names
