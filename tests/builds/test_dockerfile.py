"""The frontend a Dockerfile asks for."""

from __future__ import annotations

import pytest

from builds.dockerfile import frontend, without_frontend
from builds.errors import BuildError

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("FROM busybox\n", None),
        ("# a comment\n# syntax=evil/frontend\nFROM busybox\n", None),
        ("\n# syntax=evil/frontend\nFROM busybox\n", None),
        ("FROM busybox\n# syntax=evil/frontend\n", None),
        ("# syntax=docker/dockerfile:1\nFROM x\n", "docker/dockerfile:1"),
        ("#syntax = docker/dockerfile\nFROM x\n", "docker/dockerfile"),
        ("\ufeff# syntax=docker/dockerfile:1.7-labs\n", "docker/dockerfile:1.7-labs"),
        (f"# syntax=docker/dockerfile:1@{DIGEST}\n", f"docker/dockerfile:1@{DIGEST}"),
        ("# SYNTAX=docker.io/docker/dockerfile:1\r\n", "docker.io/docker/dockerfile:1"),
        ("# escape=`\n# syntax=docker/dockerfile-upstream:master\n",
         "docker/dockerfile-upstream:master"),
        ("#!/usr/bin/env docker\n# syntax=docker/dockerfile:1\n",
         "docker/dockerfile:1"),
    ],
)  # fmt: skip
def test_the_frontend_is_read_as_docker_reads_it(text: str, image: str | None) -> None:
    found = frontend(text)
    assert (found.image if found else None) == image


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil/frontend\nFROM x\n",
        "# syntax=docker/dockerfile-evil\n",
        "# syntax=docker/dockerfile:1@sha256:short\n",
        "# syntax=docker/dockerfilex:1\n",
        "# syntax=registry.example/docker/dockerfile:1\n",
        "# syntax=localhost:5000/docker/dockerfile\n",
        "// syntax=evil/frontend\n",
        "// syntax=docker/dockerfile:1\n",
        '{"syntax": "evil/frontend"}\n',
        ' \n {"syntax": "evil/frontend"}\n',
        "# escape=`\n# Syntax = evil\n",
    ],
)
def test_a_foreign_frontend_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match=r"^Dockerfile:[12]: "):
        frontend(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("FROM x\n", "FROM x\n"),
        ("# syntax=docker/dockerfile:1\nFROM x\n", "#\nFROM x\n"),
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM x\n",
         "# escape=`\n#\nFROM x\n"),
        ("# escape=`\n# syntax=docker/dockerfile:1\n# note\n",
         "# escape=`\n#\n# note\n"),
    ],
)  # fmt: skip
def test_the_directive_goes_without_moving_a_line(text: str, plain: str) -> None:
    assert without_frontend(text) == plain


@pytest.mark.parametrize(
    ("image", "is_current"),
    [
        ("docker/dockerfile", True),
        ("docker/dockerfile:1", True),
        ("docker.io/docker/dockerfile:1.4", True),
        ("docker/dockerfile:1.17.1-labs", True),
        ("docker/dockerfile:labs", True),
        ("docker/dockerfile:1.3", False),
        ("docker/dockerfile:1.0-experimental", False),
        ("docker/dockerfile:experimental", False),
        ("docker/dockerfile-upstream:master", False),
        (f"docker/dockerfile:1@{DIGEST}", False),
    ],
)
def test_only_current_frontends_are_known_to_keep_caches_apart(
    image: str, *, is_current: bool
) -> None:
    """Threat 50."""
    found = frontend(f"# syntax={image}\nFROM x\n")
    assert found is not None
    assert found.is_current is is_current
