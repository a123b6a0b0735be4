"""What Docker's parser refuses is shown at its place in the Dockerfile."""

from __future__ import annotations

import pytest

from applications.work import State
from builds import parse_error
from builds.errors import BuildError
from tests.builds.conftest import Project

TEXT = "FROM busybox\n  RUNN make\nCMD true\n"
HEREDOC = "FROM busybox\nRUN <<EOF\nmake\nEOF\n"


@pytest.mark.parametrize(
    ("said", "text", "first", "marked"),
    [
        (
            "dockerfile parse error line 2: unknown instruction: RUNN",
            TEXT,
            'web/Dockerfile:2:3: unknown instruction "RUNN": did you mean RUN?',
            "> 2 |   RUNN make",
        ),
        (
            "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean",
            TEXT,
            'web/Dockerfile:2:3: unknown instruction "RUNN": did you mean RUN?',
            "> 2 |   RUNN make",
        ),
        (
            "dockerfile parse error line 3: unknown instruction: make",
            HEREDOC,
            'web/Dockerfile:3:1: unknown instruction "make". If this line is the body',
            "> 3 | make",
        ),
        (
            "Dockerfile parse error line 1: FROM requires one or three arguments",
            "FROM\n",
            "web/Dockerfile:1:1: FROM requires one or three arguments.",
            "> 1 | FROM",
        ),
    ],
)
def test_the_place_the_word_and_the_source(
    said: str, text: str, first: str, marked: str
) -> None:
    found = parse_error.located(BuildError(said), text, "web/Dockerfile")
    lines = found.message.split("\n")
    assert lines[0].startswith(first)
    assert marked in lines[1:]
    assert (found.code, found.step) == ("build:dockerfile", marked[6:].strip())


@pytest.mark.parametrize("said", ["exit code: 1", "dockerfile parse error line 99: x"])
def test_any_other_error_stays_as_it_is(said: str) -> None:
    error = BuildError(said, "build:step", "a step")
    assert parse_error.located(error, TEXT, "Dockerfile") is error


@pytest.mark.django_db(transaction=True)
def test_a_misspelt_instruction_is_shown_in_its_line(project: Project) -> None:
    """Docker itself says it here."""
    build = project.built({"Dockerfile": TEXT})
    assert (build.state, build.error_code) == (State.FAILED, "build:dockerfile")
    assert 'Dockerfile:2:3: unknown instruction "RUNN"' in build.error
    assert "\n> 2 |   RUNN make\n  3 | CMD true" in build.error
    assert build.failed_step == "RUNN make"
    log = "\n".join(build.chunks.values_list("text", flat=True))
    assert "RUNN make" in log
