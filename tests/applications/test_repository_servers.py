"""Servers that are slow, hostile or broken, and processes that are killed meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from applications import git_process, observe, repository
from applications.errors import (
    MESSAGE_MAX,
    GitError,
    GitUnavailable,
    PlatformError,
    UserError,
)
from tests.fixtures.git import BadServer, GitServer, Repository, eventually

Make = Callable[..., Repository]
MakeBad = Callable[..., BadServer]

pytestmark = pytest.mark.usefixtures("git_allowed")


def git_processes() -> list[str]:
    """Command lines of living processes of ours: all are started in git's own HOME."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(git_process.home()):
                found.append((process / "cmdline").read_bytes().decode())
        except OSError:  # gone meanwhile, or a zombie waiting for init
            continue
    return found


def open_pipes() -> list[str]:
    """Pipes to processes; not sockets, the servers of a test live in this process."""
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
    return [str(link) for link in links if os.path.realpath(link).count("pipe:")]


@pytest.mark.parametrize("mode", ["silent", "drip"])
def test_a_server_that_never_finishes_is_left_at_the_deadline(
    bad_git_server: MakeBad, settings: Any, mode: str
) -> None:
    """Threat 22."""
    server = bad_git_server(mode)
    settings.ZERVERLESS_GIT_TIMEOUT = 1
    before = open_pipes()
    started = time.monotonic()
    with pytest.raises(GitUnavailable, match="ZERVERLESS_GIT_TIMEOUT") as error:
        repository.remote_heads(server.url)
    assert error.value.code == "git:timeout"
    assert time.monotonic() - started < 3
    assert eventually(lambda: git_processes() == [])
    assert open_pipes() == before


def test_a_connection_closed_early_is_tried_again_later(
    bad_git_server: MakeBad,
) -> None:
    """Threat 22."""
    with pytest.raises(GitUnavailable) as error:
        repository.remote_heads(bad_git_server("close").url)
    assert error.value.code == "git:network"


def test_a_connection_closed_within_a_pack_leaves_nothing(
    make_repo: Make, git_server: GitServer
) -> None:
    """Threat 22: and the next fetch works."""
    repo = make_repo("cut", {"a": os.urandom(100_000)})
    git_server.cut_pack_at = 5000
    with pytest.raises(GitUnavailable) as error:
        repository.fetch(repo.url, repo.head, "main")
    assert error.value.code == "git:network"
    assert eventually(lambda: git_processes() == [])
    git_server.cut_pack_at = None
    repository.fetch(repo.url, repo.head, "main")


def test_twenty_hung_polls_leave_no_process_and_no_file(
    bad_git_server: MakeBad, settings: Any
) -> None:
    """Threat 23."""
    server = bad_git_server("silent")
    settings.ZERVERLESS_GIT_TIMEOUT = 2
    failures: list[str] = []

    def poll() -> None:
        try:
            repository.remote_heads(server.url)
        except GitUnavailable as error:
            failures.append(error.code)

    before = open_pipes()
    threads = [threading.Thread(target=poll) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == ["git:timeout"] * 20
    assert eventually(lambda: git_processes() == [])
    assert open_pipes() == before


def test_an_interrupted_call_leaves_no_process(
    bad_git_server: MakeBad, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 23: django-q ends a task that takes too long by an exception in it."""
    server = bad_git_server("silent")

    def interrupt(signum: int, frame: object) -> None:
        raise SystemExit

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(SystemExit):
            repository.remote_heads(server.url)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert server.hits
    assert eventually(lambda: git_processes() == [])


WORKER = """
import django; django.setup()
from applications import repository
repository.{call}
"""


def killed_worker(call: str, tmp_path: Path, reached: Callable[[], bool]) -> None:
    """Start a process that makes the call, and kill it once it is in it."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "zerverless_site.settings",
        "ZERVERLESS_DATA_DIR": str(configured.DATA_DIR),
        "ZERVERLESS_GIT_PROTOCOLS": "http",
        "ZERVERLESS_GIT_ALLOW": "127.0.0.1",
    }
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER.format(call=call)], env=environment
    )
    try:
        assert eventually(reached, 30)
        assert git_processes()
    finally:
        worker.kill()
        worker.wait()


def test_a_killed_worker_takes_its_git_processes_along(
    bad_git_server: MakeBad, tmp_path: Path
) -> None:
    """Threat 23: SIGKILL, so no code of ours runs in the worker any more."""
    server = bad_git_server("silent")
    call = f"remote_heads({server.url!r})"
    killed_worker(call, tmp_path, lambda: server.hits > 0)
    assert eventually(lambda: git_processes() == [])


def test_a_fetch_killed_halfway_is_done_by_the_next(
    make_repo: Make, git_server: GitServer, tmp_path: Path
) -> None:
    """Threat 34: whatever the killed git left behind is no obstacle."""
    repo = make_repo("killed", {"a": os.urandom(50_000)})
    asked, release = threading.Event(), threading.Event()

    def hang(path: str) -> None:
        if path.endswith("git-upload-pack") and not asked.is_set():
            asked.set()
            release.wait(30)

    git_server.before = hang
    killed_worker(f"fetch({repo.url!r}, {repo.head!r}, 'main')", tmp_path, asked.is_set)
    release.set()
    repository.fetch(repo.url, repo.head, "main")
    with repository.open_snapshot(repo.url, repo.head) as snapshot:
        assert snapshot.read("a", 50_000)


@pytest.mark.parametrize(
    ("status", "family", "code"),
    [
        ("401 Unauthorized", GitError, "git:auth"),
        ("403 Forbidden", GitError, "git:auth"),
        ("404 Not Found", GitError, "git:not-found"),
        ("429 Too Many Requests", GitUnavailable, "git:network"),
        ("500 Internal Server Error", GitUnavailable, "git:network"),
        ("503 Service Unavailable", GitUnavailable, "git:network"),
        ("200 OK", GitError, "git:not-found"),
    ],
)
def test_each_answer_has_its_cause(
    bad_git_server: MakeBad, status: str, family: type[Exception], code: str
) -> None:
    """Threat 27: 401 asks nobody for a password. Threat 31: the rest."""
    started = time.monotonic()
    with pytest.raises(family) as error:
        repository.remote_heads(bad_git_server(status).url)
    assert getattr(error.value, "code", "") == code
    assert time.monotonic() - started < 5


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[str]:
    """A TLS server whose certificate nobody vouches for."""
    certificate = tmp_path / "self-signed.pem"
    made = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=localhost"]
    kept = ["-newkey", "rsa:2048", "-keyout", str(certificate), "-out", "-"]
    done = subprocess.run([*made, *kept], capture_output=True, check=True)
    certificate.write_bytes(certificate.read_bytes() + done.stdout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=shake_hands, args=(listener, context))
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}/x.git"
        thread.join()


def shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    client, _ = listener.accept()
    with (
        client,
        suppress(OSError),
        context.wrap_socket(client, server_side=True) as tls,
    ):
        tls.recv(1)


def test_a_certificate_nobody_vouches_for_is_refused(self_signed: str) -> None:
    """Threat 31."""
    with pytest.raises(GitError, match="certificate") as error:
        repository.remote_heads(self_signed)
    assert error.value.code == "git:tls"


def test_a_redirect_is_not_followed(
    bad_git_server: MakeBad, make_repo: Make, git_server: GitServer
) -> None:
    """Threat 19: the other server hears nothing."""
    repo = make_repo("target", {"a": "b"})
    git_server.requests.clear()
    server = bad_git_server("redirect", to=repo.url)
    with pytest.raises(GitError, match="redirects") as error:
        repository.remote_heads(server.url)
    assert error.value.code == "git:url"
    assert git_server.requests == []


def test_what_others_say_is_cleaned_and_cut_where_errors_are_made() -> None:
    """Threat 134: branches with names of 200 characters, terminal codes, tokens."""
    for error in (UserError, PlatformError):
        made = error("\x1b]0;title\x07a\x1b[31mb\x00c\x9bd\u202e ghp_" + "x" * 40)
        assert made.message == "ab\ufffdc\ufffdd\ufffd ghp_***"
        assert str(made) == made.message
        assert len(error("x" * 420_000).message) == MESSAGE_MAX
    long = {f"{'y' * 50_000}{n}": "0" * 40 for n in range(10)} | {"\x1b[5mz": "0" * 40}
    with pytest.raises(GitError) as refused:
        observe.head_of({**long, "main": "0" * 40}, "nope")
    assert "Branches: main, " in refused.value.message
    assert len(refused.value.message) < 2000
    assert "\x1b" not in refused.value.message


def test_what_git_says_is_redacted_and_cleaned(bad_git_server: MakeBad) -> None:
    """Threat 21: a hostile status line reaches the message in no dangerous form."""
    server = bad_git_server("500 https://user:s3cr3t-t0ken@h \x1b[31mred")
    with pytest.raises(GitUnavailable) as error:
        repository.remote_heads(server.url)
    assert "s3cr3t" not in error.value.message
    assert "\x1b" not in error.value.message
