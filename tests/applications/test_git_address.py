"""Where git may connect: no spelling of a private address, no second resolution."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

import pytest

from applications import connection, git_address, git_allow, git_process, repository
from applications.errors import GitAddressError, GitError
from tests.fixtures.git import BadServer, Repository
from zerverless_site.env import parse_git_allow

pytestmark = pytest.mark.usefixtures("git_allowed")
Resolver = Callable[[dict[str, list[str]]], list[str]]

# Every spelling is one of 127.0.0.1, ::1 or 0.0.0.0, which is this machine as well.
LOOPBACK = [
    "127.0.0.1", "127.1.2.3", "127.1", "0", "0.0.0.0", "2130706433", "0x7f000001",
    "0x7f.1", "0x7F.0.0.1", "017700000001", "0177.0.0.1", "127.0.0.1.", "localhost",
    "LocalHost", "localhost.", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:7f00:1]",
    "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "%31%32%37.0.0.1",
    "git.example@127.0.0.1", "127.0.0.1:80@127.0.0.1", "[::1%25lo]",
]  # fmt: skip


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Names of the test's own: name -> addresses; the names that were asked for."""

    def use(names: dict[str, list[str]]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            if host not in names:
                raise socket.gaierror(-2, "Name or service not known")
            return [(0, 0, 0, "", (text, port)) for text in names[host]]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return use


@pytest.fixture
def nothing_allowed(git_allowed: None, settings: Any) -> None:
    settings.ZERVERLESS_GIT_ALLOW = []


@contextmanager
def listening(family: int = socket.AF_INET, host: str = "0.0.0.0") -> Iterator[Any]:
    """A port of every loopback address; who connected to it."""
    with socket.create_server((host, 0), family=family) as server:
        server.settimeout(0)
        callers: list[str] = []
        yield server.getsockname()[1], callers
        with suppress(BlockingIOError):
            callers.append(str(server.accept()[1]))


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.usefixtures("nothing_allowed")
def test_no_spelling_of_this_machine_is_connected_to(host: str) -> None:
    """Threats 18 and 130."""
    family, address = (socket.AF_INET6, "::") if "[" in host else (socket.AF_INET, "")
    with listening(family, address or "0.0.0.0") as (port, callers):
        for use in (
            lambda url: repository.remote_heads(url),
            lambda url: repository.fetch(url, "a" * 40, "main"),
        ):
            with pytest.raises(GitAddressError):
                use(f"http://{host}:{port}/x.git")
    assert callers == []


@pytest.mark.parametrize(
    "address",
    """
    10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.0.8 192.0.2.1
    198.18.0.1 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 192.88.99.1
    fe80::1 fc00::1 fd12:3456::1 ff02::1 fec0::1 100::1 ::2 2001::1 2001:db8::1
    2002:a00:1:: 3fff::1 64:ff9b::10.0.0.1 64:ff9b:1::1 ::ffff:10.0.0.1
    ::ffff:169.254.169.254 2001:0:4136:e378:8000:63bf:3fff:fdd2
    """.split(),  # noqa: SIM905
)
def test_what_is_not_the_internet_is_not_public(address: str) -> None:
    """Threat 18."""
    assert not git_address.is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["140.82.121.4", "2606:50c0:8000::153", "64:ff9b::8c52:7904"]
)
def test_the_internet_is_public(address: str) -> None:
    assert git_address.is_public(ip_address(address))


def test_a_public_address_of_this_machine_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threat 18: found by what can be bound to, and loopback always can."""
    assert git_address._is_ours(ip_address("127.0.0.1"))
    monkeypatch.setattr(git_address, "_is_ours", lambda _: True)
    assert not git_address.is_public(ip_address("140.82.121.4"))


@pytest.mark.usefixtures("nothing_allowed")
def test_names_are_refused_by_where_they_lead(resolver: Resolver) -> None:
    """Threat 18: what is public of a name's addresses is all that git is told."""
    resolver(
        {
            "inside.example": ["10.0.0.5", "fd00::5"],
            "both.example": ["10.0.0.5", "140.82.121.4", "2606:50c0:8000::153"],
        }
    )
    for name in ("inside.example", "unknown.example"):
        with pytest.raises(GitAddressError):
            git_address.pin(f"https://{name}/x.git")
    assert git_address.pin("https://Both.example/x.git") == {
        "http.curloptResolve": "both.example:443:140.82.121.4,[2606:50c0:8000::153]"
    }


def test_git_connects_to_the_address_that_was_checked(
    make_repo: Callable[..., Repository], resolver: Resolver
) -> None:
    """Threat 130: the real resolver knows no such name; ours answered once a use."""
    repo = make_repo("pinned", {"a": "b"})
    asked = resolver({"rebinding.example": ["127.0.0.1"]})
    url = repo.url.replace("127.0.0.1", "Rebinding.example")
    sha = repository.remote_heads(url)["main"]
    repository.fetch(url, sha, "main")
    assert asked == ["rebinding.example"] * 2
    with pytest.raises(GitError):
        git_process.environment("http://other.example/x.git")


def test_a_command_that_names_no_url_speaks_no_protocol(
    make_repo: Callable[..., Repository],
) -> None:
    """Threat 130: a call that forgets to have its URL checked reaches nothing."""
    repo = make_repo("forgotten", {"a": "b"})
    for url in (repo.url, repo.file_url):
        outcome = git_process.run(["ls-remote", url])
        assert "not allowed" in outcome.errors


def test_a_resolver_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat 130."""
    release = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        release.wait(60)
        return []

    monkeypatch.setattr(git_address, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with pytest.raises(GitAddressError):
            git_address.pin("https://slow.example/x.git")
    finally:
        release.set()


def test_behind_a_proxy_unknown_names_are_the_proxys(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 130: and git that goes past the proxy arrives nowhere."""
    resolver({"inside.example": ["10.0.0.5"]})
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    pinned = git_address.pin("https://unknown.example/x.git")
    assert pinned["http.curloptResolve"] == "unknown.example:443:255.255.255.255"
    for url in ("https://inside.example/x.git", "http://unknown.example/x.git"):
        with pytest.raises(GitAddressError):
            git_address.pin(url)


def test_an_older_git_connects_by_address_or_by_the_operators_word(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """Threat 130: it would resolve a name once more."""
    resolver({"git.example": ["140.82.121.4"], "git.corp": ["10.0.0.5"]})
    monkeypatch.setattr(git_address, "can_pin", lambda: False)
    settings.ZERVERLESS_GIT_ALLOW = ["git.corp"]
    with pytest.raises(GitAddressError, match=r"2\.37"):
        git_address.pin("https://git.example/x.git")
    assert git_address.pin("https://git.corp/x.git")
    assert git_address.pin("https://140.82.121.4/x.git") == {}


def test_refused_closed_and_not_git_are_one_answer(
    bad_git_server: Callable[..., BadServer], settings: Any, tmp_path: Any
) -> None:
    """Threat 131: or the form is a scanner of the operator's ports."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    web, text = bad_git_server("200 OK"), bad_git_server("404 Not Found")
    urls = [
        "http://127.0.0.2:80/x.git",  # refused
        f"http://127.0.0.1:{closed}/x.git",
        web.url,
        text.url,
        web.url.replace("http:", "https:"),
        bad_git_server("hangup").url,
        "http://host.invalid/x.git",
        "file:///nowhere/x.git",
    ]
    seen = {outcome(url) for url in urls}
    assert seen == {("git:not-found", git_address.NOT_FOUND, False)}
    assert web.hits


def outcome(url: str) -> tuple[str, str, bool]:
    tested = connection.test(url, "main", "zerverless.yaml", "ana")
    return tested.code, tested.error, tested.may_pass


@pytest.mark.parametrize(
    ("word", "host", "address", "port", "is_covered"),
    [
        ("git.corp", "git.corp", "10.0.0.5", 443, True),
        ("Git.Corp:3000", "git.corp", "10.0.0.5", 443, False),
        ("git.corp", "other.corp", "10.0.0.5", 443, False),
        ("10.0.0.0/8", "x", "10.1.2.3", 80, True),
        ("10.0.0.5:80", "x", "10.0.0.5", 81, False),
        ("10.0.0.5/8:80", "x", "10.9.9.9", 80, True),
        ("10.0.0.5", "x", "10.0.0.6", 80, False),
        ("fd00::/8", "x", "fd00::5", 80, True),
        ("fd00::5", "x", "10.0.0.5", 80, False),
        ("[fd00::5]:80", "x", "fd00::5", 80, True),
        ("[fd00::/8]:80", "x", "fd00::5", 81, False),
    ],
)
def test_the_setting_names_hosts_and_networks(
    word: str,
    host: str,
    address: str,
    port: int,
    is_covered: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert parse_git_allow(f" {word} ,") == [word]
    assert git_allow.is_allowed([word], host, ip_address(address), port) is is_covered


@pytest.mark.parametrize(
    "word",
    ["http://git.corp", "git.corp:0x50", "git.corp:70000", "10.0.0.0/99", "2130706433",
     "127.1", "git corp", "-x", "*", "git.corp.", "fd00::5:g", "[git.corp]"],
)  # fmt: skip
def test_anything_else_in_the_setting_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="write HOST"):
        parse_git_allow(word)


def test_this_machines_git_can_be_pinned() -> None:
    assert git_address.can_pin(), git_address.git_version()
