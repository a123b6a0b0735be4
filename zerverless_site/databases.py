"""How Django uses the database: SQLite in a file of ours, or PostgreSQL."""

from __future__ import annotations

from typing import Any

import dj_database_url


def configuration(url: str) -> dict[str, Any]:
    """The DATABASES setting."""
    default: dict[str, Any] = dict(dj_database_url.parse(url))
    if default["ENGINE"].endswith("sqlite3"):
        # IMMEDIATE: two writers queue for the lock, or they fail when they upgrade.
        default["OPTIONS"] = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        default["CONN_HEALTH_CHECKS"] = True
        default["CONN_MAX_AGE"] = 60
    return {"default": default}
