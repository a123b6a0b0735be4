"""Durations and sizes as people write them, in manifests and settings alike."""

from __future__ import annotations

import re

_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def parse_duration(text: str) -> int:
    """Seconds in `30s`, `5m`, `2h` or `14d`; raises ValueError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    if not match:
        raise ValueError(f'"{text}" is not a duration: write 30s, 5m, 2h or 14d')
    return int(match[1]) * _DURATION_UNITS[match[2]]


def parse_size(text: str) -> int:
    """Bytes in `512`, `64Ki`, `256Mi` or `2Gi` (a final `B` is allowed)."""
    match = re.fullmatch(r"([0-9]{1,12})(|Ki|Mi|Gi|Ti)B?", text.strip())
    if not match:
        raise ValueError(f'"{text}" is not a size: write 64Ki, 256Mi or 2Gi')
    return int(match[1]) * _SIZE_UNITS[match[2]]


def show_size(amount: float) -> str:
    """Bytes in powers of 1024 : `256 MiB`, `1.5 GiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    place = 0
    while round(amount) >= 1024 and place < len(units) - 1:
        amount, place = amount / 1024, place + 1
    digits = 2 if amount < 10 else 1 if amount < 100 else 0
    shown = f"{amount:.{digits}f}"
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return f"{shown} {units[place]}"
