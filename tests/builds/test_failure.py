"""What went wrong, from the last lines of real logs of several Docker versions."""

from __future__ import annotations

import pytest

from builds.errors import BuildEngineError, BuildError
from builds.failure import FrontendUnavailable, explain, timed_out

STEP_20 = """\
#5 [2/3] RUN pip install reqests
#5 sha256:ce6671eb3170f2eed04f8b89fc0efd35d9012cd37e2ff9d3d48bdcea0769d4b5
#5 1.021 Collecting x
#5 1.204 ERROR: No matching distribution found for reqests
#5 ERROR: executor failed running [/bin/sh -c pip install reqests]: exit code: 1
------
 > [2/3] RUN pip install reqests:
------
executor failed running [/bin/sh -c pip install reqests]: exit code: 1
"""
STEP_28 = """\
#5 [2/3] RUN pip install reqests
#5 1.021 Collecting x
#5 1.204 ERROR: No matching distribution found for reqests
#5 ERROR: process "/bin/sh -c pip install reqests" did not complete successfully: \
exit code: 1
------
 > [2/3] RUN pip install reqests:
1.021 Collecting x
1.204 ERROR: No matching distribution found for reqests
------
Dockerfile:2
--------------------
   1 |     FROM python:3.11-slim
   2 | >>> RUN pip install reqests
--------------------
ERROR: failed to build: failed to solve: process "/bin/sh -c pip install reqests" \
did not complete successfully: exit code: 1
"""
STEP_CLASSIC = """\
Step 2/3 : RUN pip install reqests
 ---> Running in 6f2f05022885
Collecting x
ERROR: No matching distribution found for reqests
The command '/bin/sh -c pip install reqests' returned a non-zero code: 1
"""
KILLED = """\
#6 [3/3] RUN tail /dev/zero
#6 0.431 Killed
#6 ERROR: executor failed running [/bin/sh -c tail /dev/zero]: exit code: 137
------
 > [3/3] RUN tail /dev/zero:
------
executor failed running [/bin/sh -c tail /dev/zero]: exit code: 137
"""
TYPO = """\
#2 DONE 0.0s
failed to solve with frontend dockerfile.v0: failed to create LLB definition: \
dockerfile parse error line 2: unknown instruction: RUNN
"""
COPY = """\
#5 [2/2] COPY nope /
#5 ERROR: "/nope" not found: not found
------
 > [2/2] COPY nope /:
------
failed to compute cache key: "/nope" not found: not found
"""
COPY_28 = """\
#5 [2/2] COPY nope /
#5 ERROR: failed to calculate checksum of ref dcc7::8irs: "/nope": not found
------
 > [2/2] COPY nope /:
------
ERROR: failed to build: failed to solve: failed to compute cache key: failed to \
calculate checksum of ref dcc7::8irs: "/nope": not found
"""
NO_FILE = """\
failed to solve with frontend dockerfile.v0: failed to read dockerfile: open \
/var/lib/docker/tmp/buildkit-mount123/web.Dockerfile: no such file or directory
"""
NO_REGISTRY = """\
#3 [internal] load metadata for docker.io/library/alpine:3.19
#3 ERROR: failed to do request: Head "https://r.example/v2/": dial tcp: lookup: no \
such host
------
 > [internal] load metadata for docker.io/library/alpine:3.19:
------
failed to solve with frontend dockerfile.v0: failed to create LLB definition: \
failed to do request: Head "https://r.example/": dial tcp: lookup: no such host
"""
NO_PARENT = """\
#3 [internal] load metadata for docker.io/library/alpien:3
#3 ERROR: pull access denied, repository does not exist or may require authorization
------
 > [internal] load metadata for docker.io/library/alpien:3:
------
failed to solve with frontend dockerfile.v0: failed to create LLB definition: pull \
access denied, repository does not exist or may require authorization
"""
NO_FRONTEND = """\
#3 resolve image config for docker.io/docker/dockerfile:1
#3 ERROR: failed to do request: Head "https://r.example/v2/docker/dockerfile/"
------
 > resolve image config for docker.io/docker/dockerfile:1:
------
failed to solve with frontend dockerfile.v0: failed to solve with frontend gateway.v0: \
failed to do request: Head "https://r.example/v2/docker/dockerfile/"
"""
GONE = """\
#5 [2/2] RUN make
failed to dial gRPC: cannot connect to the Docker daemon. Is 'docker daemon' running \
on this host?: dial unix /var/run/docker.sock: connect: connection refused
"""
STEP = "[2/3] RUN pip install reqests"
SAID = "No matching distribution found for reqests"


@pytest.mark.parametrize(
    ("log", "kind", "code", "step", "words"),
    [
        (STEP_20, BuildError, "build:step", STEP, SAID),
        (STEP_28, BuildError, "build:step", STEP, SAID),
        (STEP_CLASSIC, BuildError, "build:step", STEP[6:], SAID),
        (KILLED, BuildError, "build:out-of-memory", "[3/3] RUN tail /dev/zero",
         "exit code 137): out of memory"),
        (TYPO, BuildError, "build:failed", "",
         "dockerfile parse error line 2: unknown instruction: RUNN"),
        (COPY, BuildError, "build:failed", "[2/2] COPY nope /", '"/nope" not found'),
        (COPY_28, BuildError, "build:failed", "[2/2] COPY nope /",
         'COPY nope /" failed: "/nope": not found'),
        (NO_FILE, BuildError, "build:failed", "",
         "failed to read dockerfile: open web.Dockerfile: no such file"),
        (NO_REGISTRY, BuildEngineError, "build:registry", "",
         "alpine:3.19 is not on the Docker host, and its registry cannot be reached"),
        (NO_PARENT, BuildError, "build:parent",
         "[internal] load metadata for docker.io/library/alpien:3",
         "parent image docker.io/library/alpien:3 cannot be had: pull access denied"),
        (NO_FRONTEND, FrontendUnavailable, "build:frontend", "",
         "docker.io/docker/dockerfile:1 cannot be had"),
        (GONE, BuildEngineError, "build:engine", "", "Docker went away"),
        ("", BuildError, "build:failed", "", "The build failed"),
    ],
)  # fmt: skip
def test_the_first_line_of_a_failure_says_it(
    log: str, kind: type[Exception], code: str, step: str, words: str
) -> None:
    error = explain(log.splitlines(), 1)
    assert (type(error), error.code) == (kind, code)
    assert getattr(error, "step", "") == step
    assert words in error.message.split("\n")[0]


@pytest.mark.parametrize("code", [126, 127, 137])
def test_a_client_that_did_not_run_to_its_end_is_ours(code: int) -> None:
    assert isinstance(explain([], code), BuildEngineError)


def test_a_deadline_names_the_step_it_fell_in() -> None:
    error = timed_out(["#4 [1/2] FROM x", "#5 [2/2] RUN sleep 9", "#5 0.1 zzz"], 600)
    assert error.step == "[2/2] RUN sleep 9"
    assert "after 600 seconds" in error.message
