"""One request through a real container: what the function sees, what comes back."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import pytest

from runtime import container, errors, failure
from runtime.invoke import Answer
from runtime.pump import Stopped
from tests.fixtures.functions import (
    ROOT,
    SDK_LEAVES_SOCKETS,
    Runner,
    function_image,
    image_of,
    leaving_nothing,
)


def environment_of(answer: Answer) -> dict[str, str]:
    """What the hostile function's `environment` printed."""
    lines = answer.body.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.mark.newer_engine
def test_the_thin_path_works(runner: Runner) -> None:
    answer = runner.call(image_of('FROM busybox\nCMD ["echo", "hello"]'))
    assert (answer.status, answer.body, answer.error) == (200, b"hello\n", None)
    assert answer.headers == [("content-type", "text/plain; charset=utf-8")]
    assert answer.record.exit_code == 0
    phases = answer.record.phases
    assert list(phases) == ["create", "attach", "start", "run", "total"]
    assert sum(phases.values()) <= phases["total"] * 2


def test_a_function_knows_what_it_is_and_until_when(runner: Runner) -> None:
    before = int(time.time() * 1000)
    found = environment_of(
        runner.misbehave("environment", timeout=9, env={"GREETING": "hello", "A": "ü"})
    )
    expected = {
        "ZERVERLESS_NAMESPACE": "alice",
        "ZERVERLESS_FUNCTION": "/api",
        "ZERVERLESS_DEPLOYMENT": "3",
        "ZERVERLESS_COMMIT": "c0ffee",
        "GREETING": "hello",
        "A": "ü",
        "HOME": "/tmp",
        "SCRIPT_NAME": "/alice/api",
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "do=environment",
        "INPUT_DO": "environment",
    }
    assert found.items() >= expected.items()
    assert re.fullmatch("[0-9a-f]{32}", found["ZERVERLESS_INVOCATION_ID"])
    deadline = int(found["ZERVERLESS_DEADLINE"])
    assert before + 9000 <= deadline <= time.time() * 1000 + 9000


def test_a_manifest_cannot_pretend_to_be_the_request(runner: Runner) -> None:
    """Threat 75: reserved names are the request's, also where it does not set them."""
    forged = {"HTTP_AUTHORIZATION": "x", "REQUEST_METHOD": "X", "INPUT_B": "x"}
    found = environment_of(runner.misbehave("environment", env=forged))
    assert found["REQUEST_METHOD"] == "GET"
    assert not {"HTTP_AUTHORIZATION", "INPUT_B"} & found.keys()


def test_the_control_planes_cookies_never_reach_a_function(runner: Runner) -> None:
    """Threat 63: neither its environment nor, through it, its log."""
    headers = [("cookie", "zerverless_session=s3cret; theme=dark")]
    image = function_image("hostile")
    answer = runner.call(image, "do=environment", request={"headers": headers})
    assert environment_of(answer)["HTTP_COOKIE"] == "theme=dark"
    assert b"s3cret" not in answer.body


def test_the_body_is_standard_input(runner: Runner) -> None:
    body = b'{"name": "Ada"}'
    request = {
        "method": "POST",
        "headers": [("content-type", "application/json")],
        "body": body,
    }
    image = function_image("hostile")
    answer = runner.call(image, "do=echo", request=request)
    assert (answer.body, answer.headers) == (
        body,
        [("content-type", "application/json")],
    )
    found = environment_of(runner.call(image, "do=environment", request=request))
    assert (found["CONTENT_LENGTH"], found["INPUT_NAME"]) == ("15", "Ada")


@pytest.mark.parametrize(
    ("mode", "text", "status", "headers"),
    [
        ("cgi", "Status: 404\\nX-A: b\\nContent-Type: a/b\\n\\nno", 404, ["x-a"]),
        (
            "json",
            '{"status": 404, "headers": {"X-A": "b"}, "body": "no"}',
            404,
            ["x-a"],
        ),
        ("raw", "no", 200, []),
    ],
)
def test_the_response_mode_decides_how_output_is_read(
    runner: Runner, mode: str, text: str, status: int, headers: list[str]
) -> None:
    image = function_image("hostile")
    request = {
        "headers": [("content-type", "application/json")],
        "body": json.dumps({"text": text}).encode(),
    }
    answer = runner.call(image, "do=say", request=request, response=mode)
    assert (answer.status, answer.body) == (status, b"no")
    assert [name for name, _ in answer.headers if name != "content-type"] == headers


def test_an_answer_that_cannot_be_read_is_502_with_the_reason(runner: Runner) -> None:
    answer = runner.misbehave("ok", response="json")
    assert (answer.status, answer.body) == (502, b"")
    assert "not JSON" in str(answer.error)


def test_a_failure_keeps_its_log_clean_and_out_of_the_answer(runner: Runner) -> None:
    """Threats 81 and 83: no escape sequences, no broken text, no log for the client."""
    answer = runner.misbehave("fail")
    assert answer.record.stderr == "Traceback: red \ufffd end\n"
    assert str(answer.error) == "The function ended with exit code 3."
    assert answer.body == b""


@SDK_LEAVES_SOCKETS
def test_what_fails_at_the_engine_stays_in_our_log(
    runner: Runner, settings: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Threat 83: a uniform answer; the daemon's words and address are for us."""
    host, settings.DOCKER_HOST = settings.DOCKER_HOST, f"unix://{tmp_path}/nobody.sock"
    with caplog.at_level(logging.ERROR):
        answer = runner.call("sha256:1", request={"id": "0123456789abcdef"})
    settings.DOCKER_HOST = host
    assert (answer.status, answer.body, answer.headers) == (503, b"", [])
    assert "docker" not in str(answer.error).lower()
    assert str(tmp_path) not in str(answer.error)
    assert "0123456789abcdef" in caplog.text


# -- images (threat 47) ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        ("FROM scratch\nLABEL a=b", "neither CMD nor ENTRYPOINT"),
        ('FROM busybox\nWORKDIR /proc/self/fd/7\nCMD ["pwd"]', "WORKDIR"),
        ('FROM busybox\nVOLUME /\nCMD ["pwd"]', "VOLUME"),
        ('FROM busybox\nVOLUME /proc/x\nCMD ["pwd"]', "VOLUME"),
        ('FROM busybox\nUSER nobody-at-all\nCMD ["pwd"]', "cannot be started"),
        ('FROM busybox\nVOLUME /bin/busybox\nCMD ["pwd"]', "cannot be started"),
        ('FROM busybox\nCMD ["no-such-program"]', "is not in the image's PATH"),
        ('FROM busybox\nCMD ["/etc/passwd"]', 'passwd" is not executable (mode 0644'),
    ],
)
@pytest.mark.newer_engine
def test_an_image_that_cannot_run_is_the_functions_failure(
    runner: Runner, dockerfile: str, reason: str
) -> None:
    """Threat 47."""
    answer = runner.call(image_of(dockerfile))
    assert (answer.status, answer.error and answer.error.code) == (502, "ZV502")
    assert reason in str(answer.error)


def test_why_the_engine_refused_is_in_the_functions_log(runner: Runner) -> None:
    """Threats 47 and 83."""
    image = image_of('FROM busybox\nUSER nobody-at-all\nCMD ["pwd"]')
    answer = runner.call(image)
    assert "unable to find user nobody-at-all" in answer.record.stderr
    assert "nobody-at-all" not in str(answer.error)


# Files that cannot be executed, each for another reason.
_BROKEN = r"""FROM busybox
COPY --from=debian:bookworm-slim /bin/ls /bin/gnu-ls
RUN printf '#!/bin/sh\r\necho hi\r\n' >/crlf.sh && printf '#!/bin/sh\n' >/mode.sh && \
    printf '#!/bin/sh\n' >/own.sh && printf '#!/bin/env node\n' >/app.js && \
    chmod 755 /crlf.sh /app.js && chmod 644 /mode.sh && chmod 700 /own.sh && \
    mkdir -m 700 /own && cp /bin/busybox /own/app && cp /bin/busybox /arm && \
    printf '\267\000' | dd of=/arm bs=1 seek=18 conv=notrunc
CMD """
_LOADER = "/lib64/ld-linux-x86-64.so.2, which is not in the image"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["/crlf.sh"], 'the lines of its program "crlf.sh" end in CR LF'),
        (["sh", "-c", "exec ./mode.sh"], '"mode.sh" is not executable (mode 0644)'),
        (["/own.sh"], '"own.sh" is not executable for others (mode 0700)'),
        (["/app.js"], 'first line of its program "app.js" asks for node, which is not'),
        (["gnu-ls"], f'"gnu-ls" needs {_LOADER}'),
        (["/own/app"], '"app" is in /own, which only its owner may enter (mode 0700)'),
        (["/arm"], '"arm" is for arm64, and this machine is amd64'),
        (["/nope"], 'its program "nope" is not in the image'),
    ],
)
def test_a_command_that_cannot_be_executed_is_looked_at(
    runner: Runner, command: list[str], reason: str
) -> None:
    """Threat 144: the file says why; nobody is blamed for the user it runs as."""
    answer = runner.call(image_of(_BROKEN + json.dumps(command)))
    assert answer.status == 502
    assert reason in str(answer.error), answer.record
    assert "65534" not in str(answer.error)


def test_a_command_in_a_container_started_ahead_is_looked_at_too() -> None:
    for runner in leaving_nothing(Runner(ahead=True)):
        answer = runner.call(image_of(_BROKEN + json.dumps(["/crlf.sh"])))
        assert "end in CR LF" in str(answer.error)


def test_an_image_brings_nothing_of_its_own_along(runner: Runner) -> None:
    """Threat 47: no health check, no port, no signal; its user and folder count."""
    image = image_of(
        "FROM busybox\n"
        "HEALTHCHECK --interval=1s CMD touch /tmp/checked\n"
        "STOPSIGNAL SIGUSR1\nEXPOSE 80\nUSER 1234:5678\nWORKDIR /srv\n"
        'CMD ["sh", "-c", "sleep 1.5; id -u; id -g; pwd; ls /tmp"]\n'
    )
    assert runner.call(image).body == b"1234\n5678\n/srv\n"


@pytest.mark.parametrize(("line", "uid"), [("", "65534"), ("USER root", "0")])
def test_only_an_image_that_says_so_runs_as_root(
    runner: Runner, line: str, uid: str
) -> None:
    """Threat 56: and that root has no capabilities either."""
    image = image_of(
        f"FROM busybox\n{line}\n"
        'CMD ["sh", "-c", "id -u; grep CapEff /proc/self/status"]'
    )
    expected = f"{uid}\nCapEff:\t0000000000000000\n"
    assert runner.call(image).body.decode() == expected


def test_the_example_of_the_original_design_answers(runner: Runner) -> None:
    image = function_image("example")
    body = b'{"name": "Ada"}'
    request = {
        "method": "POST",
        "headers": [("content-type", "application/json")],
        "body": body,
    }
    answer = runner.call(image, "x=1", request=request)
    assert answer.headers == [("content-type", "application/json")]
    assert json.loads(answer.body) == {
        "method": "POST",
        "query": "x=1",
        "name": "Ada",
        "body": body.decode(),
    }


# -- pure -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stderr", "user", "hint"),
    [
        (b"/app: Permission denied", "", "runs as nobody"),
        (b"/app: Permission denied", "root", "exit code 1."),
        (b"exec /app: exec format error", "", "not a program for this machine"),
        (b"socket.gaierror: Temporary failure in name resolution", "", "127.0.0.1"),
        (b"s6-overlay-suexec: fatal: can only run as pid 1", "", "have CMD run the"),
        (b"init: must be run as PID 1", "root", "process 1, which is our init"),
        (b"Couldn't find an alternative telinit implementation", "", "process 1"),
        (b"[Errno 30] Read-only file system: 'x'", "", "only /tmp is writable"),
    ],
)
def test_a_failure_names_the_limit_it_met(stderr: bytes, user: str, hint: str) -> None:
    assert hint in failure.explain(1, stderr, user)


def test_a_log_tail_can_be_stored_and_shown_anywhere() -> None:
    """Threats 81 and 85: no NUL, no terminal control, no half characters."""
    raw = b"a\x00b\x1b[31mred\x1b[0m\x1b]8;;http://x\x07link\x1b]8;;\x07\r\n\xc3"
    outcome = container.Outcome(Stopped.END, stderr=raw, stderr_cut=True)
    assert failure.clean_log(outcome) == "…abredlink\n\ufffd"


def test_every_error_code_is_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `(ZV\w+)` \| (\d+) \| ([^|]+) \|", page, re.M)
    documented = {(code, int(status), title) for code, status, title in rows}
    assert documented == set(_codes(errors.InvocationError))


def _codes(family: type[errors.InvocationError]) -> list[tuple[str, int, str]]:
    found = [(family.code, family.status, family.title)]
    for child in family.__subclasses__():
        found += _codes(child)
    return found
