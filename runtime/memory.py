"""The memory one gateway's instances may use together: their limits, added up."""

from __future__ import annotations

import os

from django.conf import settings


class Memory:
    """Bytes promised out of `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def has(self, size: int) -> bool:
        """Whether `size` more bytes fit."""
        return self.used + size <= self.limit

    def take(self, size: int) -> bool:
        """Promise `size` bytes if they are free now."""
        if self.has(size):
            self.used += size
            return True
        return False

    def give_back(self, size: int) -> None:
        self.used -= size


def budget() -> int:
    """ZERVERLESS_INSTANCE_MEMORY, or what this machine can spare."""
    if settings.ZERVERLESS_INSTANCE_MEMORY:
        return int(settings.ZERVERLESS_INSTANCE_MEMORY)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(machine * 3 // 4 - settings.ZERVERLESS_PRIMED_MEMORY, machine // 4)
