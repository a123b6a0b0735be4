"""The Docker adapter, against real daemons."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from docker import errors as docker_errors
from pytest_django.fixtures import Settings

from runtime import engine, engine_files, removal
from runtime.errors import ContainerEngineError, ImageMissing
from runtime.facts import Container
from runtime.invoke import Answer
from tests.fixtures.functions import (
    SDK_LEAVES_SOCKETS,
    Runner,
    docker,
    function_image,
    image_of,
    wait_until,
)
from tests.fixtures.own_engine import OwnEngine, make_certificates


def in_background(runner: Runner, what: str, **config: Any) -> Future[Answer]:
    """Start a call on a thread and return once its container runs."""
    with_thread = ThreadPoolExecutor(1)
    future = with_thread.submit(runner.misbehave, what, **config)
    with_thread.shutdown(wait=False)
    wait_until(lambda: any(c.state == "running" for c in running(runner)))
    return future


def running(runner: Runner) -> list[Container]:
    return engine.list_ours(runner.installation)


def inspect(runner: Runner) -> dict[str, Any]:
    """What the engine says from outside about the one running container."""
    (found,) = running(runner)
    (state,) = json.loads(docker("inspect", found.id))
    return dict(state)


# -- point 3: every limit, from outside and from inside ------------------------------


@pytest.mark.newer_engine
def test_every_limit_is_seen_from_outside(runner: Runner) -> None:
    """Threats 56 to 59."""
    future = in_background(runner, "sleep", timeout=2)
    found = inspect(runner)
    future.result()
    host = found["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["Memory"] == host["MemorySwap"] == 256 << 20
    assert (host["PidsLimit"], host["NanoCpus"]) == (64, 500_000_000)
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["ReadonlyRootfs"], host["Privileged"]) == (True, False)
    assert (host["IpcMode"], host["PidMode"], host["Init"]) == ("private", "", True)
    assert host["LogConfig"]["Type"] == "none"
    assert (host["Binds"], found["Mounts"]) == (None, [])
    assert found["Config"]["User"] == "65534:65534"
    assert found["Config"]["NetworkDisabled"] is True
    assert not any(
        n["IPAddress"] for n in found["NetworkSettings"]["Networks"].values()
    )


@pytest.mark.newer_engine
def test_every_limit_is_felt_inside(runner: Runner) -> None:
    """Threats 56 to 59."""
    lines = runner.misbehave("probe").body.decode().replace("\t", " ").splitlines()
    for expected in (
        *(f"Cap{kind}: 0000000000000000" for kind in ("Prm", "Eff", "Bnd", "Amb")),
        "NoNewPrivs: 1",
        "Seccomp: 2",
        "uid: 65534 gid: 65534 host: 127.0.0.1",
        "nofile: 1024 core: 0 fsize: 65536",
        "net: lo ",
        "memory: 268435456",
        "pids: 64",
    ):
        assert expected in lines
    # Version 1 of cgroups limits memory and swap together, version 2 swap alone.
    assert "memsw: 268435456" in lines or "swap: 0" in lines
    assert "cpu: 50000" in lines or "cpu: 50000 100000" in lines
    root, shm, tmp = sorted(line for line in lines if line.startswith("mount:"))
    assert root.startswith("mount: / ")
    assert " ro," in root
    assert "size=16384k" in shm
    assert "size=32768k,nr_inodes=2048" in tmp


# -- whose container it is ------------------------------------------------------------


def test_a_name_says_whose_a_container_is(runner: Runner) -> None:
    """Threat 48."""
    future = in_background(runner, "sleep", timeout=1)
    (found,) = running(runner)
    future.result()
    assert found.name.startswith(f"zerverless-{runner.installation}-gateway0-")
    assert found.owner == "gateway0"
    assert found.image_id == function_image("hostile")
    assert abs(found.created - time.time()) < 60
    assert engine.list_ours(runner.installation[:-1]) == []


def test_labels_of_an_image_neither_claim_nor_survive(runner: Runner) -> None:
    """Threat 48: an image labelled as ours is not ours, nor keeps it its labels."""
    forged = image_of(
        "FROM busybox\n"
        f"LABEL zerverless.managed=true zerverless.deployment=99 mine={runner.owner}\n"
        'CMD ["sleep", "1000"]\n'
    )
    foreign = docker("run", "-d", "--network", "none", forged)
    try:
        assert running(runner) == []
        gone = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(runner.call, forged, cancelled=gone)
            wait_until(lambda: any(c.state == "running" for c in running(runner)))
            labels = inspect(runner)["Config"]["Labels"]
            gone.set()
            future.result()
        assert labels["zerverless.deployment"] == "7"
        assert labels["mine"] == labels["zerverless.managed"] == ""
        assert docker("inspect", "-f", "{{.State.Running}}", foreign) == "true"
    finally:
        docker("rm", "-f", foreign)
        assert runner.containers() == []
        docker("rmi", "-f", forged)


def test_a_taken_name_costs_its_owner_nothing(runner: Runner) -> None:
    name = engine.container_name(runner.installation, "gateway0", "taken")
    docker("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "99")
    answer = runner.call(function_image("hostile"), request={"id": "taken"})
    assert answer.status == 503
    (survivor,) = runner.containers()
    assert (survivor.name, survivor.state) == (name, "running")
    engine.remove(name)


def test_removing_and_killing_twice_is_fine(runner: Runner) -> None:
    name = engine.container_name(runner.installation, "gateway0", "twice")
    docker("create", "--name", name, "--network", "none", "busybox", "true")
    engine.kill(name)
    engine.remove(name)
    engine.remove(name)
    engine.kill(name)


@pytest.mark.parametrize("refusals", [1, 3])
def test_one_that_ends_while_it_is_killed_is_removed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """A race inside Docker 20.10, seen twice in 5,000 tests and not to be had at will:
    it finds the container running, and has then nothing to kill."""
    said = "Could not kill running container x, cannot remove - x is not running"
    outcomes = [docker_errors.APIError(said, explanation=said)] * refusals + [None]
    client = Mock(remove_container=Mock(side_effect=outcomes))
    monkeypatch.setattr(engine, "client", lambda _: client)
    engine.remove("x")
    assert client.remove_container.call_count == refusals + 1


# -- images ---------------------------------------------------------------------------


def test_a_missing_image_is_503_and_never_pulled(runner: Runner) -> None:
    """Threat 40: even a name with a registry in it makes nobody call the registry."""
    with socket.create_server(("127.0.0.1", 0)) as registry:
        registry.setblocking(False)
        name = f"127.0.0.1:{registry.getsockname()[1]}/alice/api:latest"
        for image in ("sha256:" + "0" * 64, name):
            answer = runner.call(image)
            assert answer.status == 503
            assert isinstance(answer.error, ImageMissing)
        with pytest.raises(BlockingIOError):
            registry.accept()


@pytest.mark.newer_engine
def test_an_image_removed_behind_our_back_is_503(runner: Runner) -> None:
    """Threat 40: what we remember about an image does not bring it back."""
    image = image_of(f'FROM busybox\nENV N={runner.installation}\nCMD ["true"]')
    assert runner.call(image).status == 200
    assert runner.containers() == []
    docker("rmi", "-f", image)
    assert isinstance(runner.call(image).error, ImageMissing)


# -- many at once ---------------------------------------------------------------------


def test_no_output_is_lost_however_short_the_run(runner: Runner) -> None:
    """Threat 78: 200 runs on 4 threads, each with all of its output."""
    text = "".join(f"{line}\n" for line in range(500))
    image = image_of('FROM busybox\nCMD ["seq", "0", "499"]')
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: runner.call(image), range(200)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.body.decode() for answer in answers} == {text}


# -- the daemon goes away (threat 74) -------------------------------------------------


@pytest.fixture
def on_own_engine(
    own_engine: OwnEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> OwnEngine:
    settings.DOCKER_HOST = own_engine.host
    settings.ZERVERLESS_COLD_START_TIMEOUT = 1
    monkeypatch.setattr(engine, "QUICK", 1)
    monkeypatch.setattr(engine_files, "QUICK", 1)
    return own_engine


@SDK_LEAVES_SOCKETS
def test_a_killed_daemon_is_503_until_it_is_back(
    on_own_engine: OwnEngine, runner: Runner
) -> None:
    """Threat 74: mid-call, while it is away, and after its return."""
    assert runner.misbehave("ok").status == 200
    future = in_background(runner, "sleep", timeout=60)
    on_own_engine.kill()
    began = time.monotonic()
    assert future.result(10).status == 503
    assert runner.misbehave("ok").status == 503
    assert time.monotonic() - began < 5
    with pytest.raises(ContainerEngineError):
        engine.ping()
    removal.drain()
    on_own_engine.start()
    assert runner.misbehave("ok").body == b"fine\n"
    # What was running when it died is still to be found by its name, and goes.
    for orphan in runner.containers():
        engine.remove(orphan.id)


@SDK_LEAVES_SOCKETS
def test_a_frozen_daemon_holds_nobody_up_for_long(
    on_own_engine: OwnEngine, runner: Runner
) -> None:
    """Threat 74."""
    future = in_background(runner, "sleep", timeout=1)
    on_own_engine.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert future.result(10).status == 504
        assert runner.misbehave("ok").status == 503
        assert time.monotonic() - began < 8
        removal.drain()
    finally:
        on_own_engine.signal(signal.SIGCONT)
    assert runner.misbehave("ok").body == b"fine\n"
    for orphan in runner.containers():
        engine.remove(orphan.id)


def test_a_daemon_that_is_away_costs_no_descriptors(settings: Settings) -> None:
    """Without the help of the garbage collector, which rests in a gateway."""
    settings.DOCKER_HOST = "unix:///nowhere/docker.sock"
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            with pytest.raises(ContainerEngineError):
                engine.ping()
            with pytest.raises(ContainerEngineError):
                engine.remove("x")
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()


def test_docker_switched_off_says_so(runner: Runner, settings: Settings) -> None:
    settings.DOCKER_ENABLED = False
    answer = runner.call("sha256:1")
    settings.DOCKER_ENABLED = True
    assert (answer.status, "DOCKER_ENABLED" in str(answer.error)) == (503, True)


# -- TLS ------------------------------------------------------------------------------


@pytest.fixture
def over_tls(own_engine: OwnEngine, settings: Settings) -> Settings:
    settings.DOCKER_HOST = own_engine.tls_host
    settings.DOCKER_TLS_VERIFY = True
    settings.DOCKER_CERT_PATH = str(own_engine.certificates)
    return settings


@pytest.mark.usefixtures("over_tls")
def test_over_tls_bodies_go_both_ways(runner: Runner) -> None:
    body = bytes(range(256)) * 8192
    assert runner.misbehave("ok").body == b"fine\n"
    assert runner.misbehave("echo", body, timeout=20).body == body
    late = runner.misbehave("read-late", body, timeout=20)
    assert late.body == b"2097152\n"
    assert runner.misbehave("never-read", body, timeout=20).body == b"fine\n"
    assert runner.misbehave("stdout-zeros").status == 502
    assert runner.misbehave("ignore-term", timeout=1).status == 504


def test_a_daemon_with_another_certificate_is_not_spoken_to(
    over_tls: Settings, tmp_path: Path
) -> None:
    make_certificates(tmp_path / "other")
    over_tls.DOCKER_CERT_PATH = str(tmp_path / "other")
    with pytest.raises(ContainerEngineError):
        ThreadPoolExecutor(1).submit(engine.ping).result(10)
