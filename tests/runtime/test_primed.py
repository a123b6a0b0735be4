"""A container started ahead serves exactly as one started for the request."""

from __future__ import annotations

import socket

import pytest

from runtime import engine, marks, primed
from runtime.invoke import Answer
from runtime.route import Route
from tests.fixtures.functions import (
    Ahead,
    Runner,
    docker,
    function_image,
    image_of,
)

AWKWARD = "name=O%27Neil%0A%24%28id%29&quote=%22%60&empty="
# What a shell adds to its own environment, whoever started it.
SHELLS = {"PWD", "OLDPWD", "SHLVL", "_"}


@pytest.fixture
def ahead(runner: Runner) -> Runner:
    """The same installation, with containers started ahead."""
    return Runner(ahead=True, installation=runner.installation)


def variables(answer: Answer) -> dict[str, str]:
    """What a function that prints its environment, NUL between, was given."""
    assert answer.error is None, answer
    pairs = (entry.partition("=") for entry in answer.body.decode().split("\0"))
    return {name: value for name, _, value in pairs if name and name not in SHELLS}


def test_the_environment_is_the_same(runner: Runner, ahead: Runner) -> None:
    image = image_of('FROM busybox\nENV IMAGE=own\nCMD ["cat", "/proc/self/environ"]\n')
    given = {
        "headers": [("x-awkward", 'it\'s; `a` $HOME \\ "test"')],
        "id": "0" * 32,
    }
    plain, early = (
        variables(who.call(image, AWKWARD, request=given, env={"MINE": "a 'b'\nc"}))
        for who in (runner, ahead)
    )
    for answer in (plain, early):
        answer.pop("ZERVERLESS_DEADLINE")
    assert early == plain
    assert early["INPUT_NAME"] == "O'Neil\n$(id)"


def test_the_images_own_program_runs_not_one_of_the_launchers(ahead: Runner) -> None:
    image = image_of(
        "FROM busybox\n"
        "RUN mkdir /own && printf '#!/bin/sh\\necho mine\\n' > /own/echo && "
        "chmod 755 /own/echo\n"
        "ENV PATH=/own:/bin\n"
        'CMD ["echo", "builtin"]\n'
    )
    assert ahead.call(image).body == b"mine\n"


def test_an_image_from_scratch_needs_nothing_of_its_own(ahead: Runner) -> None:
    image = image_of(
        "FROM busybox AS made\n"
        "FROM scratch\n"
        "COPY --from=made /bin/busybox /echo\n"
        'ENTRYPOINT ["/echo", "alone"]\n'
    )
    assert ahead.call(image).body == b"alone\n"


def test_workdir_and_user_are_the_images(runner: Runner, ahead: Runner) -> None:
    image = image_of(
        'FROM busybox\nWORKDIR /srv\nUSER 1234:77\nCMD ["sh", "-c", "pwd; id -u -g"]\n'
    )
    assert ahead.call(image).body == runner.call(image).body


@pytest.mark.parametrize("code", [0, 1, 7, 126, 127, 137, 255])
def test_the_exit_code_is_the_programs(ahead: Runner, code: int) -> None:
    answer = ahead.misbehave(f"exit&code={code}")
    assert answer.record.exit_code == code


def test_a_command_that_is_not_there_fails_like_any(ahead: Runner) -> None:
    answer = ahead.call(image_of('FROM busybox\nCMD ["no-such-program"]\n'))
    assert (answer.status, answer.record.exit_code) == (502, 127)


def test_a_body_goes_in_and_comes_out_whole(ahead: Runner) -> None:
    image = image_of('FROM busybox\nCMD ["cat"]\n')
    body = bytes(range(256)) * 20_000
    answer = ahead.call(image, request={"body": body}, content_type="x/y")
    assert answer.body == body


def test_a_container_that_died_waiting_costs_nothing_but_time(runner: Runner) -> None:
    """The request was never sent, so it is safe to start a container for it."""

    class Dead(Ahead):
        def take(self, route: Route) -> primed.Primed | None:
            waiting = super().take(route)
            assert waiting is not None
            engine.remove(waiting.name)
            return waiting

        def drop(self, route: Route) -> None:
            dropped.append(route)

    dropped: list[Route] = []
    answer = runner.call(function_image("hostile"), "do=ok", stock=Dead(runner.owner))
    assert (answer.status, answer.body) == (200, b"fine\n")
    assert len(dropped) == 1


def test_a_half_filled_launcher_is_filled_again(runner: Runner) -> None:
    image = function_image("hostile")
    first = primed.Launcher.ensure(runner.installation, "gateway0", image)
    mount = f"{first.volume}:/files"
    docker("run", "--rm", "-v", mount, "busybox", "rm", "/files/launch")
    again = primed.Launcher.ensure(runner.installation, "gateway0", image)
    listing = docker("run", "--rm", "-v", mount, "busybox", "ls", "/files")
    assert (again, listing.split()) == (first, ["busybox", "launch"])


MARK = b"0123456789abcdef"


@pytest.mark.parametrize("size", [1, 3, 16, 1000])
def test_marks_are_found_however_the_stream_is_cut(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pump = marks.MarkedPump(ours, ours, b"", 1 << 20, MARK)
    for start in range(0, 40, size):
        pump._take(1, (b"answer 012345678" + MARK)[start : start + size])
    log = b"s" + b"log 0123" + MARK + b"42\n"
    for start in range(0, len(log), size):
        pump._take(2, log[start : start + size])
    pump._take(1, b"a process left behind")
    assert (pump.stdout, pump.stderr) == (b"answer 012345678", b"log 0123")
    assert (pump.started, pump.exit_code, pump._ended) == (True, 42, True)
