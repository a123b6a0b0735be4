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


def configuration(level: str, *, as_text: bool) -> dict[str, Any]:
    """The LOGGING setting: everything on standard error, in one of the two forms."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": "zerverless_site.logs.JsonFormatter"},
            "text": {"()": "zerverless_site.logs.TextFormatter"},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "text" if as_text else "json",
            },
        },
        "root": {"handlers": ["console"], "level": level.upper()},
        # django-q2 adds a handler of its own otherwise, and every line comes twice; at
        # info it says three lines for each of the clock's hints.
        "loggers": {
            "django-q": {
                "handlers": ["console"],
                "level": "WARNING",
                "propagate": False,
            }
        },
    }
