"""A Snapshot of files in memory, for tests that need no repository."""

from __future__ import annotations

import hashlib
import io
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from applications.errors import GitError
from applications.repository import Entry


@dataclass
class Files:
    """path -> text or bytes; a value `-> target` is a link, `@` a submodule."""

    files: dict[str, str | bytes]
    executable: set[str] = field(default_factory=set)
    opened: list[str] = field(default_factory=list)

    def read(self, path: str, limit: int) -> bytes:
        content = self.files.get(posixpath.normpath(path))
        if content is None or str(content).startswith("-> "):
            raise GitError(f"{path} is not a file.", "git:path")
        return _bytes(content)[:limit]

    def blob_id(self, path: str) -> str:
        return hashlib.sha1(self.read(path, 1 << 30)).hexdigest()

    def tree_id(self, path: str) -> str:
        parts = [f"{e.path}\0{e.blob}" for e in self.entries(path)]
        if not parts:
            raise GitError(f"{path} is not a directory.", "git:path")
        return hashlib.sha1("\n".join(parts).encode()).hexdigest()

    def entries(self, path: str) -> Iterator[Entry]:
        root = posixpath.normpath(path)
        for name, content in sorted(self.files.items()):
            if root != "." and not name.startswith(f"{root}/"):
                continue
            below = name if root == "." else name.removeprefix(f"{root}/")
            text = _bytes(content)
            kind = "link" if text.startswith(b"-> ") else "file"
            kind = "submodule" if text == b"@" else kind
            blob = hashlib.sha1(text).hexdigest()
            yield Entry(
                below, kind, name in self.executable, len(text), f"{name}:{blob}"
            )

    def open(self, entry: Entry) -> BinaryIO:
        name = entry.blob.rpartition(":")[0]
        self.opened.append(name)
        return io.BytesIO(_bytes(self.files[name]))

    def link_target(self, entry: Entry) -> str:
        return str(self.files[entry.blob.rpartition(":")[0]]).removeprefix("-> ")


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
