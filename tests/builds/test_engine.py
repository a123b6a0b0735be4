"""Real images from the real engine, and the work it does for us really stopping."""

from __future__ import annotations

from typing import Any

import pytest
from tests.builds.snapshots import Files

from builds import context, engine
from builds.engine import BuiltImage, ImageRequest

LIMITS = context.Limits(1 << 30, 10_000)


def build(prefix: str, dockerfile: str, name: str = "x", **more: Any) -> BuiltImage:
    """One image from a Dockerfile and nothing else."""
    lines: list[str] = more.pop("lines", [])
    stop = more.pop("stop", lambda: False)
    files = more.pop("files", {}) | {"Dockerfile": dockerfile}
    wanted = context.survey(Files(files), ".", "Dockerfile", LIMITS)
    order = ImageRequest(f"{prefix}/engine/{name}:1", **more)
    with context.packed(wanted, 1_000_000_000, stop) as tar:
        return engine.build(order, tar, lines.append, stop)


def test_an_image_is_built_labelled_and_tagged(image_prefix: str) -> None:
    lines: list[str] = []
    built = build(
        image_prefix,
        'FROM busybox\nCOPY . /app\nRUN cat /app/hello\nCMD ["cat", "/app/hello"]\n',
        labels={"zerverless.build": "7"},
        files={"hello": "hello there"},
        lines=lines,
    )
    assert built.id.startswith("sha256:")
    assert built.config["Labels"]["zerverless.build"] == "7"
    assert any("hello there" in line for line in lines)
