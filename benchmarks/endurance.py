"""What the long runs have in common: their functions, their results, their page."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerverless_site.settings")
django.setup()  # for the fixtures, which use the platform's own modules

from benchmarks.versions import machine  # noqa: E402
from tests.fixtures.load import Load, Tally  # noqa: E402
from tests.fixtures.servers import server_program  # noqa: E402
from zerverless_site.reference import with_generated  # noqa: E402

RESULTS = Path(__file__).parent / "endurance.json"
PAGE = Path(__file__).parent.parent / "docs" / "endurance.md"
SERVER = 'FROM scratch\nCOPY . /\nENTRYPOINT ["/server"]\n'
ONCE = """\
FROM busybox
COPY version /
CMD ["sh", "-c", "echo v$ZERVERLESS_DEPLOYMENT $PATH_INFO"]
"""

Rows = dict[str, str]


def server(version: int) -> dict[str, str | bytes]:
    """The files of a server function; every version is an image of its own."""
    return {"Dockerfile": SERVER, "server": server_program(), "version": f"{version}\n"}


def once(version: int) -> dict[str, str | bytes]:
    """The files of a function that has one container for each request."""
    return {"Dockerfile": ONCE, "version": f"{version}\n"}


def figures(load: Load) -> dict[str, Any]:
    """What became of a load's requests, as JSON; latencies in milliseconds."""
    tally = load.tally
    return {
        "answered": tally.answered,
        "failed": dict(Counter(one.what for one in tally.failures)),
        "connections_ended_idle": tally.ended_idle,
        **{f"p{share}": tally.milliseconds(share / 100) for share in (50, 99, 100)},
    }


def summary(tally: Tally) -> str:
    """`200,000 answered, 12 failed; p50 0.6 ms, p99 4.1 ms, at most 812 ms`."""
    p50, p99, most = (tally.milliseconds(share) for share in (0.5, 0.99, 1))
    return (
        f"{tally.answered:,} answered, {len(tally.failures):,} failed; "
        f"p50 {p50} ms, p99 {p99} ms, at most {most} ms"
    )


def keep(name: str, rows: Rows, details: dict[str, Any]) -> None:
    """Write a run's results, and show them on the page; the other run's stay."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {"rows": rows, "machine": machine(), **details}
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(with_generated(PAGE.read_text(), table(results)))
    for what, found in rows.items():
        print(f"{what}: {found}")


def table(results: dict[str, Any]) -> str:
    """The part of the page that is generated."""
    parts = []
    for name, result in sorted(results.items()):
        rows = [f"| {what} | {found} |" for what, found in result["rows"].items()]
        parts.append("\n".join([f"### {name.capitalize()}", "", "| | |", "|---|---|"]))
        parts[-1] += "\n" + "\n".join(rows)
    return "\n\n".join(parts)
