"""JSON as RFC 8259 has it: Python's reader also takes `NaN` and `Infinity`. Pure."""

from __future__ import annotations

import json
from typing import Any


def loads(data: bytes) -> Any:
    """The value; raises ValueError, and RecursionError for what is nested too deep."""
    return json.loads(data, parse_constant=_refuse)


def dumps(value: Any) -> bytes:
    """As UTF-8; raises ValueError for a number no double can hold, such as 1e999."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a value of JSON")
