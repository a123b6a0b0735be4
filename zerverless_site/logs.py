"""Log lines: one JSON object each, or text on a terminal; never a credential."""

from __future__ import annotations

import logging
import time
from typing import Any

from pythonjsonlogger.json import JsonFormatter as _JsonFormatter

from applications.redact import redact


class JsonFormatter(_JsonFormatter):
    """time, level, logger, message and whatever the caller gave as `extra`."""

    def __init__(self) -> None:
        super().__init__(
            "{levelname}{name}{message}",
            style="{",
            rename_fields={"levelname": "level", "name": "logger"},
        )

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        log_data["time"] = f"{seconds}.{int(record.msecs):03}Z"
        super().add_fields(log_data, record, message_dict)


class TextFormatter(logging.Formatter):
    """`12:30:01 INFO  logger  message`, for a person at a terminal."""

    def __init__(self) -> None:
        super().__init__(
            "{asctime} {levelname:<7} {name}  {message}", "%H:%M:%S", style="{"
        )

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
