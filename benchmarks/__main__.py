"""Runs figures, prints them and merges them into benchmarks/latest.json: `make bench`.

python -m benchmarks [FIGURE ...]     all of them without a name; RUNS=15 for more runs
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from http.client import HTTPException
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from benchmarks.bench import Bench
from benchmarks.catalogue import MEASUREMENTS, Measurement, chosen
from benchmarks.goals import GOALS
from benchmarks.versions import machine

# What a measurement may end with; anything else is a mistake in here.
FAILURES = (RuntimeError, AssertionError, OSError, HTTPException, SubprocessError)
LATEST = Path(__file__).parent / "latest.json"


def main(names: list[str]) -> int:
    """Measure; 1 where some of it could not be."""
    failed = []
    # What was started ends with us, also where a shell has its jobs ignore interrupts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    bench = Bench()
    try:
        for measurement in chosen(names):
            try:
                measure(bench, measurement)
            except FAILURES:  # the other figures are wanted all the same
                traceback.print_exc()
                failed.append(measurement.names[0])
    finally:
        bench.close()
    if failed:
        print("not measured:", *failed, file=sys.stderr)
    return 1 if failed else 0


def measure(bench: Bench, measurement: Measurement) -> None:
    """Run one measurement, and keep and show what it gives at once."""
    for figure in measurement.measure(bench):
        row = {"group": measurement.group, **figure.as_dict()}
        if goal := GOALS.get(figure.name):
            row |= {"goal": str(goal), "met": goal.is_met(row)}
        keep(figure.name, row)
        print(line(figure.name, row), flush=True)


def keep(name: str, row: dict[str, Any]) -> None:
    """Write one figure; those measured earlier stay, in the catalogue's order."""
    latest = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    figures = {**latest.get("figures", {}), name: row}
    order = [name for measurement in MEASUREMENTS for name in measurement.names]
    ordered = {name: figures[name] for name in order if name in figures}
    latest |= {"machine": machine(), "figures": ordered}
    LATEST.write_text(json.dumps(latest, indent=1, ensure_ascii=False) + "\n")


def line(name: str, row: dict[str, Any]) -> str:
    """`warm_rps_c8  12000 /s  (reference 16000, ratio 0.75, 7 runs)  ≥ 0.5 met`."""
    compared = (
        f"reference {row['reference']}, ratio {row['ratio']}, "
        if row["reference"] is not None
        else ""
    )
    goal = (
        f"  {row['goal']} {'met' if row['met'] else 'MISSED'}" if "goal" in row else ""
    )
    low, high = row["spread"]
    return (
        f"{name:<20} {row['ours']:>9} {row['unit']:<5}"
        f"({compared}{row['runs']} runs, {low} to {high}){goal}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
