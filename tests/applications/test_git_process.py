"""Under which conditions git runs, asked of a real git."""

from __future__ import annotations

import os
from typing import Any

import pytest

from applications import git_process
from tests.fixtures.git import eventually

pytestmark = pytest.mark.usefixtures("git_allowed")


def shell(script: str, **options: Any) -> git_process.Outcome:
    """Run a shell script as git would run a helper: with all git inherits."""
    return git_process.run(["-c", f"alias.probe=!{script}", "probe"], **options)


def test_every_limit_reaches_the_helpers_of_git(settings: Any) -> None:
    """Threat 28."""
    settings.ZERVERLESS_REPOSITORY_MAX = 5 * 2**20
    limits = shell("ulimit -f; ulimit -v; ulimit -c").output.split()
    assert limits == [b"10240", str(git_process.MEMORY_MAX // 1024).encode(), b"0"]


def test_git_knows_nothing_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threats 26 and 27: no configuration, no prompt, no secret of the platform."""
    for name in ("GIT_SSH_COMMAND", "GIT_TRACE", "DATABASE_URL", "DISPLAY"):
        monkeypatch.setenv(name, "leaked")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    lines = shell("env").output.decode().splitlines()
    seen = dict(line.partition("=")[::2] for line in lines)
    assert "leaked" not in seen.values()
    assert seen["https_proxy"] == "http://proxy.example:3128"
    assert (seen["GIT_TERMINAL_PROMPT"], seen["GIT_ASKPASS"]) == ("0", "/bin/true")
    assert os.listdir(seen["HOME"]) == []


def test_git_uses_only_the_configuration_it_is_given() -> None:
    """Threats 19 and 26."""
    listed = git_process.run(["config", "--list", "--show-scope"]).output.decode()
    assert {line.split("\t")[0] for line in listed.splitlines()} == {"command"}
    assert "http.followredirects=false" in listed
    assert "protocol.allow=never" in listed
    assert "transfer.fsckobjects=true" in listed


def test_output_is_read_up_to_its_limit() -> None:
    """Threat 28: an endless answer costs its limit, not the machine's memory."""
    outcome = shell("yes", output_max=100_000, timeout=30)
    assert outcome.overflowed
    assert not outcome.succeeded
    assert len(outcome.output) < 300_000


def test_errors_keep_their_end() -> None:
    outcome = shell("yes error | head -c 200000 >&2; echo the end >&2; exit 3")
    assert outcome.errors.endswith("the end\n")
    assert len(outcome.errors) == git_process.ERRORS_MAX
    assert outcome.status == 3


def test_a_command_that_closes_its_output_still_has_a_deadline() -> None:
    """Threat 22."""
    outcome = shell("exec >&- 2>&-; sleep 60", timeout=0.5)
    assert outcome.timed_out


def test_a_helper_that_outlives_git_is_ended() -> None:
    """Threat 23: it holds git's output open; the deadline does not wait for it."""
    outcome = shell("sleep 60 & echo $!", timeout=1)
    pid = int(outcome.output)
    assert eventually(lambda: is_dead(pid))


def is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True
