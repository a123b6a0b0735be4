"""Functions that misbehave: the documented status in time, then all is as before."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.functions import Runner, image_of, leaving_nothing, volumes

BIG = b"x" * (6 << 20)
ENDLESS: dict[str, Any] = {"timeout": 1}


@pytest.fixture(params=[False, True], ids=["started for it", "started ahead"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """Every promise holds for a container of both kinds."""
    yield from leaving_nothing(Runner(ahead=request.param))


@pytest.fixture(autouse=True)
def aftermath(runner: Runner) -> Any:
    """After each of them a good call works, and no volume is left but the launcher."""
    before = volumes()
    yield
    assert runner.misbehave("ok").body == b"fine\n"
    assert runner.containers() == []
    assert volumes_since(before, runner) == []


def volumes_since(before: set[str], runner: Runner) -> list[str]:
    """New volumes, without the launcher that every installation has one of."""
    return [name for name in volumes() - before if runner.installation not in name]


@pytest.mark.parametrize(
    "what",
    ["sleep", "busy", "ignore-term", "polite", "drip", "stderr-zeros", "close-output"],
)
def test_what_does_not_end_is_stopped_within_a_second(
    runner: Runner, what: str
) -> None:
    """Threats 60 and 61."""
    answer = runner.misbehave(what, **ENDLESS)
    assert (answer.status, answer.error and answer.error.code) == (504, "ZV504")
    # From the start of the program: the making of a container is not its time.
    phases = answer.record.phases
    made = sum(phases.get(name, 0) for name in ("create", "attach", "start"))
    # A second to stop it, and one for a machine with other things to do.
    assert 1000 <= phases["total"] - made <= 3000


def test_a_server_that_nobody_calls_one_is_told(runner: Runner) -> None:
    """Threat 143: it would time out for ever, without a word."""
    answer = runner.misbehave("serve", **ENDLESS)
    assert (answer.status, answer.error and answer.error.code) == (504, "ZV504")
    assert "It listens on 80 and 8443: write port: 80" in str(answer.error)


def test_sigterm_comes_before_sigkill(runner: Runner) -> None:
    """Threat 61: a function that wants to can say goodbye in its log."""
    answer = runner.misbehave("polite", **ENDLESS)
    assert answer.record.stderr == "stopped by SIGTERM\n"


@pytest.mark.parametrize(
    ("what", "hint"),
    [
        ("fork-bomb", "64 processes are the limit"),
        ("fill-root", "only /tmp is writable"),
        ("fill-tmp", "a file larger than 32 MiB"),
        ("fill-inodes", "is all there is to write to"),
        ("fill-shm", "is all there is to write to"),
        ("network", "a function has no network"),
        ("exit&code=7", "exit code 7."),
        ("exit&code=126", "cannot be executed"),
        ("exit&code=127", "was not found"),
        ("exit&code=137", "SIGKILL"),
        ("abort", "SIGSEGV"),
    ],
)
@pytest.mark.newer_engine
def test_what_meets_a_limit_fails_and_says_which(
    runner: Runner, what: str, hint: str
) -> None:
    """Threats 56, 58 and 59."""
    answer = runner.misbehave(what, timeout=20)
    assert (answer.status, answer.error and answer.error.code) == (502, "ZV502")
    assert hint in str(answer.error)
    assert answer.record.phases["total"] < 10_000


def test_a_file_bomb_meets_the_limit_of_open_files(runner: Runner) -> None:
    """Threat 58."""
    answer = runner.misbehave("file-bomb", timeout=20)
    assert (answer.status, answer.error and answer.error.code) == (502, "ZV502")
    assert 1000 < max(map(int, answer.record.stderr.splitlines()[1:-1])) < 1024


@pytest.mark.newer_engine
def test_a_memory_bomb_is_502_with_a_code_of_its_own(runner: Runner) -> None:
    """Threat 57."""
    answer = runner.misbehave("memory-bomb", memory=64 << 20)
    assert (answer.status, answer.error and answer.error.code) == (502, "ZV502M")
    assert "64 MiB" in str(answer.error)
    assert answer.record.oom
    assert answer.record.exit_code == 137
    assert answer.record.phases["total"] < 5000


def test_memory_that_a_child_process_wanted_is_named(runner: Runner) -> None:
    """Threats 57 and 144: the program itself ends with a code of its own."""
    answer = runner.misbehave("memory-child", memory=64 << 20)
    assert (answer.status, answer.record.exit_code) == (502, 1)
    assert answer.error is not None
    assert answer.error.code == "ZV502M"


@pytest.mark.parametrize("what", ["stdout-lines", "stdout-zeros"])
def test_endless_output_is_cut_at_the_limit(runner: Runner, what: str) -> None:
    """Threat 60: and our own memory does not grow with it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = runner.misbehave(what)
    assert (answer.status, answer.error and answer.error.code) == (502, "ZV502L")
    assert answer.body == b""
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 48 * 1024  # KiB; the limit is 10 MiB
    assert answer.record.phases["total"] < 5000


def test_much_log_costs_only_its_beginning(runner: Runner) -> None:
    """Threat 60."""
    answer = runner.misbehave("stderr-much")
    assert answer.body == b"fine\n"
    assert answer.record.stderr.startswith("…")
    assert answer.record.stderr.endswith("the last line\n")
    assert len(answer.record.stderr) <= 8 * 1024 + 1


@pytest.mark.parametrize(
    ("what", "ending"),
    [
        ("never-read", b"fine\n"),
        ("close-input", b"fine\n"),
        ("read-late", b"6291456\n"),
        ("write-first", b"\x006291456\n"),
        ("double-fork", b"fine\n"),
    ],
)
def test_input_and_output_never_wait_for_each_other(
    runner: Runner, what: str, ending: bytes
) -> None:
    """Threats 61 and 62."""
    answer = runner.misbehave(what, BIG, timeout=20)
    assert answer.status == 200
    assert answer.body.endswith(ending)
    assert answer.record.phases["total"] < 10_000


def test_a_large_body_arrives_and_returns_whole(runner: Runner) -> None:
    """Threat 62."""
    body = bytes(range(256)) * (6 << 12)
    assert runner.misbehave("echo", body, timeout=20).body == body


def test_nothing_is_left_for_the_next_request(runner: Runner) -> None:
    """Threat 80."""
    assert b"left" in runner.misbehave("leave").body
    assert b"left" not in runner.misbehave("look").body


@pytest.mark.newer_engine
def test_a_declared_volume_is_small_memory_and_no_volume(runner: Runner) -> None:
    """Threats 47, 59 and 148: however it is written, and one below another."""
    declared = (
        '["/data", "/data/in", "/odd/", "/v/../up", "//two", "/x/./dot", "/link"]'
    )
    writer = image_of(
        f"FROM busybox\nRUN mkdir /real && ln -s /real /link\nVOLUME {declared}\n"
        'CMD ["sh", "-c", "for d in /data /data/in /odd /up /two /x/dot /link; do '
        "cp /bin/busybox $d || echo no $d >&2; done; "
        "grep -vE ' (tmpfs|proc|sysfs|cgroup|devpts|mqueue|overlay) ' /proc/mounts "
        "| grep -v ' ro' >&2; dd if=/dev/zero of=/data/x bs=1M\"]\n"
    )
    before = volumes()
    answer = runner.call(writer)
    assert answer.status == 502
    assert "No space left" in answer.record.stderr
    assert "/dev/" not in answer.record.stderr
    assert "no /" not in answer.record.stderr
    assert runner.containers() == []
    assert volumes_since(before, runner) == []


@pytest.mark.newer_engine
def test_a_volume_the_engine_makes_all_the_same_is_never_started(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threats 47 and 59: what counts is what the engine says after the creation."""
    monkeypatch.setattr("builds.volumes.clean", lambda path: path)
    image, before = image_of('FROM busybox\nVOLUME ["/v/../d0"]\nCMD true\n'), volumes()
    answer = runner.call(image)
    assert (answer.status, answer.error and answer.error.code) == (502, "ZV502")
    assert "a volume on disk at /d0" in f"{answer.error} {answer.record.stderr}"
    assert runner.containers() == []
    assert volumes_since(before, runner) == []


def test_a_client_that_goes_takes_its_function_with_it(runner: Runner) -> None:
    """Threat 72."""
    gone = threading.Event()
    threading.Timer(0.7, gone.set).start()
    began = time.monotonic()
    answer = runner.misbehave("sleep", cancelled=gone)
    assert answer.error is not None
    assert answer.error.code == "ZV499"
    assert time.monotonic() - began < 3
