"""`manage.py validate_manifest`: data on standard output, exit codes of docs/cli.md."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.fixtures.manifests import ORIGINAL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "zerverless.yaml"
    target.write_text(ORIGINAL)
    return target


def fails_with(code: int, *arguments: str) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("validate_manifest", *arguments)
    assert caught.value.returncode == code


def test_a_good_file_leaves_standard_output_empty(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("validate_manifest", str(path))
    output = capsys.readouterr()
    assert output.out == ""
    assert "is good; functions: 1" in output.err


def test_problems_come_one_per_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(ORIGINAL + "      cpu: 99\n      bad: 1\n")
    fails_with(3, str(path))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}:15:12: spec.functions[0].cpu: Invalid value")
    assert second.startswith(f"{path}:16:7: spec.functions[0].bad: Unknown field")


def test_json_holds_problems_and_functions(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("validate_manifest", str(path), "--json")
    good = json.loads(capsys.readouterr().out)
    assert good["valid"]
    assert good["functions"][0]["dockerfile"] == "services/api/Dockerfile"
    path.write_text("a: b")
    fails_with(3, str(path), "--json")
    bad = json.loads(capsys.readouterr().out)
    assert not bad["valid"]
    assert (bad["problems"][0]["line"], bad["problems"][0]["column"]) == (1, 1)


def test_the_namespace_can_be_given(path: Path) -> None:
    call_command("validate_manifest", str(path), "--namespace", "alice")
    fails_with(3, str(path), "--namespace", "bob")


def test_warnings_are_talk(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(ORIGINAL.replace("my-app", "no"))
    call_command("validate_manifest", str(path))
    output = capsys.readouterr()
    assert output.out == ""
    assert f"warning: {path}:4:9: metadata.name: " in output.err


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Threat 4: a pipe is not waited for, and a huge file not read."""
    pipe, huge = tmp_path / "pipe", tmp_path / "huge"
    os.mkfifo(pipe)
    for target in (tmp_path / "absent", tmp_path, pipe):
        fails_with(4, str(target))
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    fails_with(3, str(huge))
