"""Runs every figure and writes benchmarks/latest.json and a table: `make bench`."""

from __future__ import annotations

import json
import os
import platform as machine
import shutil
import sys
import tempfile
from pathlib import Path

LATEST = Path(__file__).parent / "latest.json"


def main(wanted: list[str]) -> None:
    """Measure the figures whose names are given, or all."""
    # Settings are read at import: this process shares the installation's.
    data_dir = Path(tempfile.mkdtemp(prefix="z"))
    os.environ["ZERVERLESS_DATA_DIR"] = str(data_dir)
    os.environ["ZERVERLESS_GIT_PROTOCOLS"] = "https,file"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerverless_site.settings")
    import django  # noqa: PLC0415

    django.setup()
    from django.db import connections  # noqa: PLC0415

    from benchmarks import figures  # noqa: PLC0415
    from benchmarks.platform import Platform  # noqa: PLC0415
    from tests.fixtures.stack import free_port  # noqa: PLC0415

    platform = Platform(data_dir, free_port())
    results = {}
    try:
        platform.start()
        for measure in figures.all_figures(platform):
            figure = measure()
            if not wanted or figure.name in wanted:
                results[figure.name] = figure.as_dict()
                print(row(figure.name, figure.as_dict()), flush=True)
    finally:
        platform.stop()
        connections.close_all()  # else SQLite makes its files anew behind us
        shutil.rmtree(data_dir)
    about = {"system": machine.platform(), "processors": os.cpu_count()}
    LATEST.write_text(json.dumps({"machine": about, "figures": results}, indent=1))


def row(name: str, figure: dict[str, object]) -> str:
    """`oneshot_busybox  95 ms  (reference 290, ratio 0.33, 15 runs)`."""
    compared = (
        f"reference {figure['reference']}, ratio {figure['ratio']}, "
        if figure["reference"] is not None
        else ""
    )
    return (
        f"{name:<18} {figure['ours']:>9} {figure['unit']:<4}"
        f"({compared}{figure['runs']} runs, {figure['spread']})"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
