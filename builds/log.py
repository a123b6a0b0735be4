"""The stored log of a build: written while it runs, read by number, bounded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from applications.redact import redact
from builds.lines import clean
from builds.models import Build, BuildLogChunk

BATCH_SECONDS = 0.3
BATCH_LINES = 500
_OBJECT = 64  # bytes a line in memory costs beyond its text


class Writer:
    """Stores lines in batches; of too long a log the head and the tail.

    The tail is kept in memory until the end, so a flood costs neither rows nor more
    memory than half of ZERVERLESS_BUILD_LOG_MAX.
    """

    def __init__(self, build_pk: int) -> None:
        self._build_pk = build_pk
        self._batch: list[str] = []
        self._written_at = 0.0
        self._head_room = self._tail_room = settings.ZERVERLESS_BUILD_LOG_MAX // 2
        self._tail: deque[str] = deque()
        self._left_out = 0

    def add(self, text: str) -> None:
        """One more line, or several, cleaned and without credentials."""
        for line in text.split("\n"):
            self._add(clean(line))

    def _add(self, line: str) -> None:
        size = len(line.encode()) + 1
        if self._head_room > 0:
            self._head_room -= size
            self._batch.append(redact(line))
            if self._head_room <= 0:
                self._batch.append(
                    "[The log is too long: from here only its end is kept, and shown "
                    "when the build ends.]"
                )
            self.tick()
            return
        self._tail.append(line)
        self._tail_room -= size + _OBJECT
        while self._tail_room < 0:
            self._tail_room += len(self._tail.popleft().encode()) + 1 + _OBJECT
            self._left_out += 1

    def tick(self) -> None:
        """Write what has waited long enough; call it several times a second."""
        waited = time.monotonic() - self._written_at
        if self._batch and (waited > BATCH_SECONDS or len(self._batch) >= BATCH_LINES):
            self._write()

    def close(self) -> None:
        """Write everything that is left."""
        if self._left_out:
            self._batch.append(f"[{self._left_out:,} lines are left out here.]")
        # Only now: looking for credentials takes longer than a flood gives us.
        self._batch += map(redact, self._tail)
        self._tail.clear()
        self._left_out = 0
        if self._batch:
            self._write()

    def _write(self) -> None:
        for start in range(0, len(self._batch), BATCH_LINES):
            self._store(self._batch[start : start + BATCH_LINES])
        self._batch = []
        self._written_at = time.monotonic()

    def _store(self, lines: list[str]) -> None:
        while True:
            try:
                with transaction.atomic():
                    first = _next_line(self._build_pk)
                    BuildLogChunk.objects.create(
                        build_id=self._build_pk,
                        first_line=first,
                        line_count=len(lines),
                        text="\n".join(lines),
                    )
            except IntegrityError:
                # A worker whose lease ran out wrote its last lines just now.
                if Build.objects.filter(pk=self._build_pk).exists():
                    continue
                return
            Build.objects.filter(pk=self._build_pk).update(
                log_lines=first + len(lines) - 1
            )
            return


@contextmanager
def writing(build_pk: int) -> Iterator[Writer]:
    """A writer whose last lines are stored however the block ends."""
    writer = Writer(build_pk)
    try:
        yield writer
    finally:
        writer.close()


def lines(build: Build, after: int = 0, limit: int = 1000) -> list[tuple[int, str]]:
    """At most `limit` (number, text) after line `after`; numbers begin at 1."""
    chunks = build.chunks.annotate(last=F("first_line") + F("line_count") - 1)
    found: list[tuple[int, str]] = []
    for chunk in chunks.filter(last__gt=after).iterator():
        found += [row for row in _rows(chunk) if row[0] > after]
        if len(found) >= limit:
            break
    return found[:limit]


def tail(build: Build, limit: int = 1000) -> list[tuple[int, str]]:
    """The last `limit` lines."""
    return lines(build, max(_next_line(build.pk) - 1 - limit, 0), limit)


def whole(build: Build) -> Iterator[str]:
    """The log as pieces of text, each ending with a newline, for a download."""
    for chunk in build.chunks.iterator():
        yield f"{chunk.text}\n"


def _rows(chunk: BuildLogChunk) -> list[tuple[int, str]]:
    return list(enumerate(chunk.text.split("\n"), start=chunk.first_line))


def _next_line(build_pk: int) -> int:
    last = BuildLogChunk.objects.filter(build_id=build_pk).order_by("first_line").last()
    return last.first_line + last.line_count if last else 1
