"""Writes the generated reference pages: `python -m zerverless_site.reference`.

A test compares the pages with what this would write, so they cannot drift.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from django.conf import settings as django_settings

from applications import manifest_reference
from runtime.metric import METRICS
from zerverless_site import measured, settings

ROOT = Path(__file__).resolve().parent.parent
_BEGIN = "<!-- generated: python -m zerverless_site.reference -->"
_END = "<!-- end of the generated part -->"


def pages() -> dict[Path, str]:
    """Each generated page's path and what should stand in it."""
    generated = {
        ROOT / "docs" / "settings.md": settings_table(),
        ROOT / "docs" / "manifest.md": manifest_reference.reference(),
        ROOT / "docs" / "metrics.md": metrics_table(),
        ROOT / "docs" / "performance.md": speed_table(),
    }
    return {
        path: with_generated(path.read_text(), text) for path, text in generated.items()
    }


def settings_table() -> str:
    """One row per environment variable, in the order settings.py declares them."""
    rows = ["| name | kind | default | meaning |", "|---|---|---|---|"]
    for item in settings.read.declared:
        default = _portable(item.default)
        shown = f"`{default}`" if default else "empty"
        rows.append(f"| `{item.name}` | {item.kind} | {shown} | {item.about} |")
    return "\n".join(rows)


def metrics_table() -> str:
    """One row per metric of `/metrics`."""
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(
            f"| `{metric.full_name}` | {metric.kind} | {labels} | {metric.about} |"
        )
    return "\n".join(rows)


def speed_table() -> str:
    """The last measurement, as `make bench` left it."""
    latest = ROOT / "benchmarks" / "latest.json"
    return measured.tables(json.loads(latest.read_text()))


def with_generated(page: str, text: str) -> str:
    """`page` with what stands between the two markers replaced by `text`."""
    before, rest = page.split(_BEGIN, 1)
    _, after = rest.split(_END, 1)
    return f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}"


def _portable(default: str) -> str:
    """The default as it reads on any machine, whatever the environment says here."""
    if default == str(ROOT / "data"):
        return "./data"
    text = default.replace(str(django_settings.DATA_DIR), "DATA_DIR")
    return text.replace(f":{django_settings.ZERVERLESS_PORT}", ":PORT")


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerverless_site.settings")
    for target, content in pages().items():
        target.write_text(content)
