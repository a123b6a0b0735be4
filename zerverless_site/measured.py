"""What `make bench` measured last, as docs/performance.md shows it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

_HEAD = [
    "| what | ours | reference | ratio | goal | runs |",
    "|---|---|---|---|---|---|",
]


def tables(measured: dict[str, Any]) -> str:
    """The machine, one table for each group of figures, and a warm request's parts."""
    rows = [*_machine(measured["machine"])]
    figures = measured["figures"].items()
    for group, items in groupby(figures, key=lambda item: item[1]["group"]):
        rows += ["", f"### {group}", "", *_HEAD]
        rows += [_row(name, figure) for name, figure in items]
    if request := measured.get("warm_request"):
        rows += ["", *_parts(request)]
    return "\n".join(rows)


def _machine(machine: dict[str, Any]) -> Iterator[str]:
    versions = [f"{name} {version}" for name, version in machine["versions"].items()]
    yield f"{machine['processors']} of {machine['processor']}, {machine['memory']},"
    yield f"{machine['system']};"
    yield f"{', '.join(versions)}."


def _row(name: str, figure: dict[str, Any]) -> str:
    low, high = figure["spread"]
    ours = f"**{figure['ours']}** {figure['unit']}".rstrip()
    spread = f" ({low} to {high})" if figure["runs"] > 1 else ""
    goal = figure.get("goal", "")
    missed = " **missed**" if goal and not figure["met"] else ""
    cells = [
        f"`{name}`: {figure['about']}",
        ours + spread,
        _or_empty(figure["reference"]),
        _or_empty(figure["ratio"]),
        goal + missed,
        str(figure["runs"]),
    ]
    return f"| {' | '.join(cells)} |"


def _or_empty(value: float | None) -> str:
    return "" if value is None else str(value)


def _parts(request: dict[str, Any]) -> Iterator[str]:
    parts = request["microseconds"]
    yield "### Where each microsecond of a warm request goes"
    yield ""
    yield "![flame graph of a warm request](warm-request.svg)"
    yield ""
    yield "| µs of the gateway's processor | part |"
    yield "|---|---|"
    for name, micros in parts.items():
        yield f"| {micros:.1f} | {name} |"
    yield f"| **{sum(parts.values()):.1f}** | all of it, at 32 connections |"
