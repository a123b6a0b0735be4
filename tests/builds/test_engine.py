"""Real images from the real engine: what people's Dockerfiles need, and failures."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from builds import engine, parse_error
from builds.errors import BuildEngineError, BuildError
from tests.builds.conftest import Maker

CMD = 'CMD ["true"]\n'


@pytest.mark.newer_engine
def test_an_image_is_built_tagged_and_labelled_by_us(make_image: Maker) -> None:
    """Threats 48 and 148: a label in the Dockerfile cannot replace ours."""
    built = make_image(
        f"FROM busybox\nLABEL zerverless.build=999\nCOPY . /app\n{CMD}",
        {"hello": "hello there"},
        labels={"zerverless.build": "7"},
    )
    assert built.tags == (make_image.tag("x"),)
    assert built.config["Labels"]["zerverless.build"] == "7"
    assert engine.image(built.id) == built


DOCKERFILES = {
    "cache mount": "FROM busybox\nRUN --mount=type=cache,target=/c echo kept > /c/x\n",
    "bind mount": "FROM busybox\nRUN --mount=target=/src cat /src/Dockerfile\n",
    "build platform": (
        "FROM --platform=$BUILDPLATFORM busybox AS make\n"
        "ARG TARGETARCH\nRUN echo arch=$TARGETARCH > /out\n"
        "FROM busybox\nCOPY --from=make /out /out\nRUN grep arch=. /out\n"
    ),
    "ARG before FROM": "ARG BASE=busybox\nFROM ${BASE}\nARG BASE\nRUN test $BASE\n",
    "non-root user": (
        "FROM debian:bookworm-slim\nRUN useradd -m app\nUSER app\nWORKDIR /home/app\n"
        "COPY --chown=app Dockerfile .\nRUN test $(id -un) = app && touch mine\n"
    ),
    "escape directive": "# escape=`\nFROM busybox\nRUN echo a `\n  && echo b\n",
    "shell form": 'FROM busybox\nSHELL ["/bin/sh", "-ec"]\nRUN x=1; test $x = 1\n',
}


@pytest.mark.parametrize("name", DOCKERFILES)
@pytest.mark.newer_engine
def test_dockerfiles_people_have_build_unchanged(name: str, make_image: Maker) -> None:
    assert make_image(DOCKERFILES[name] + CMD).config["Cmd"] == ["true"]


def test_a_target_stage_is_the_image(make_image: Maker) -> None:
    stages = (
        'FROM busybox AS one\nCMD ["one"]\nFROM one AS two\nRUN false\nCMD ["two"]\n'
    )
    assert make_image(stages, target="one").config["Cmd"] == ["one"]


@pytest.mark.this_engine
def test_a_package_from_the_network_is_installed(make_image: Maker) -> None:
    install = f"pip install --no-cache-dir six # {secrets.token_hex(4)}"  # not cached
    make_image(f"FROM python:3.11-slim\nRUN {install}\nRUN python -m six\n{CMD}")
    assert "Successfully installed six" in make_image.log


@pytest.mark.newer_engine
def test_a_failed_step_is_named_with_its_reason(make_image: Maker) -> None:
    with pytest.raises(BuildError) as caught:
        make_image("FROM busybox\nRUN echo no such thing >&2; exit 3\n")
    assert caught.value.step == "[2/2] RUN echo no such thing >&2; exit 3"
    assert caught.value.message == (
        'Step "[2/2] RUN echo no such thing >&2; exit 3" failed with exit code 3: '
        "no such thing"
    )


@pytest.mark.newer_engine
def test_a_missing_file_is_named(make_image: Maker) -> None:
    with pytest.raises(BuildError, match=r'COPY nope /" failed: "/nope":? not found'):
        make_image("FROM busybox\nCOPY nope /\n")


@pytest.mark.newer_engine
def test_a_heredoc_works_or_is_explained(make_image: Maker, docker_client: Any) -> None:
    """Docker before 23 takes the body of a heredoc for instructions."""
    heredoc = f"FROM busybox\nRUN <<EOF\necho hi > /x\nEOF\nRUN cat /x\n{CMD}"
    if int(docker_client.version()["Version"].split(".")[0]) >= 23:
        make_image(heredoc)
        return
    with pytest.raises(BuildError) as caught:
        make_image(heredoc)
    said = parse_error.located(caught.value, heredoc, "Dockerfile").message
    assert said.startswith('Dockerfile:3:1: unknown instruction "ECHO".')
    assert "heredocs need Docker 23" in said


def test_a_parent_that_cannot_be_had_is_named(make_image: Maker) -> None:
    """Threat 51. Out of reach of a registry it is tried again, else it is theirs."""
    with pytest.raises((BuildError, BuildEngineError), match="zv-nowhere/absent:9"):
        make_image("FROM zv-nowhere/absent:9\n")


def test_a_build_cannot_say_what_its_image_is(make_image: Maker) -> None:
    """Threat 49: success, ids and steps printed by RUN are text and nothing else."""
    faked = (
        "Successfully built 1234\\nwriting image sha256:%064d done\\n"
        "#1 DONE 0.0s\\n\\033[31mred\\000\\377\\rend\\n"
    )
    built = make_image(f"FROM busybox\nRUN printf '{faked}' 1\n{CMD}")
    assert built.id != f"sha256:{1:064d}"
    assert engine.image(make_image.tag("x")) == built
    with pytest.raises(BuildError, match="exit code 1"):
        make_image(f"FROM busybox\nRUN printf '{faked}' 1; exit 1\n{CMD}")


def test_a_build_step_cannot_reach_the_daemon(make_image: Maker) -> None:
    """Threat 37: no API of Docker listens on any port a step can reach."""
    make_image(
        "FROM busybox\n"
        "RUN gw=$(ip route | awk '/default/ {print $3}'); for p in 2375 2376 2377; do "
        "nc -z -w 1 $gw $p && exit 1; done; test ! -e /var/run/docker.sock\n" + CMD
    )


def test_docker_switched_off_refuses_and_says_so(
    make_image: Maker, settings: Any
) -> None:
    settings.DOCKER_ENABLED = False
    with pytest.raises(BuildError, match="DOCKER_ENABLED is off"):
        make_image("FROM busybox\n")


def test_a_daemon_that_is_away_is_ours(make_image: Maker, settings: Any) -> None:
    settings.DOCKER_HOST = "unix:///nonexistent/docker.sock"
    with pytest.raises(BuildEngineError, match="Is it running"):
        make_image("FROM busybox\n")
