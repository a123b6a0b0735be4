"""Which host name serves what, and the addresses that are shown."""

from __future__ import annotations

from typing import Any

import pytest

from runtime import hosts

HERE, THERE = "http://127.0.0.1:8000", "https://site.example"
BOTH, FUNCTIONS, CONTROL = (True, True), (True, False), (False, True)


@pytest.fixture
def configure(settings: Any) -> Any:
    """`configure(functions_host, base_url)`."""

    def go(functions_host: str, base_url: str) -> None:
        settings.ZERVERLESS_FUNCTIONS_HOST = functions_host
        settings.ZERVERLESS_BASE_URL = base_url

    return go


@pytest.mark.parametrize(
    ("functions_host", "base", "host", "serves", "namespace"),
    [
        ("", THERE, "site.example", BOTH, None),
        ("", THERE, "", BOTH, None),
        ("", THERE, "alice.localhost", BOTH, None),
        ("", HERE, "127.0.0.1:8000", BOTH, None),
        ("", HERE, "localhost:8000", BOTH, None),
        ("", HERE, "[::1]:8000", BOTH, None),
        ("", HERE, "alice.localhost:8000", FUNCTIONS, "alice"),
        ("", HERE, "ALICE.localhost.:8000", FUNCTIONS, "alice"),
        ("", HERE, "a.b.localhost", FUNCTIONS, "a.b"),
        ("", HERE, ".localhost", FUNCTIONS, ""),
        ("", HERE, "alicelocalhost", BOTH, None),
        ("fn.example", HERE, "fn.example", FUNCTIONS, None),
        ("fn.example", HERE, "FN.example.:8000", FUNCTIONS, None),
        ("fn.example:8000", HERE, "fn.example", FUNCTIONS, None),
        ("fn.example", HERE, "alice.localhost", CONTROL, None),
        ("fn.example", HERE, "fn.example.evil", CONTROL, None),
        ("*.fn.example", THERE, "alice.fn.example", FUNCTIONS, "alice"),
        ("*.FN.example:8443", THERE, "Alice.Fn.Example:8443", FUNCTIONS, "alice"),
        ("*.fn.example", THERE, "fn.example", CONTROL, None),
        ("*.fn.example", THERE, "xfn.example", CONTROL, None),
        ("*.fn.example", THERE, "site.example", CONTROL, None),
        ("*.fn.example", HERE, "alice.localhost", CONTROL, None),
    ],
)
def test_what_a_host_serves(
    configure: Any,
    functions_host: str,
    base: str,
    host: str,
    serves: tuple[bool, bool],
    namespace: str | None,
) -> None:
    """Threats 64 and 137."""
    configure(functions_host, base)
    role = hosts.role_of(host)
    assert (role.functions, role.control) == serves
    assert role.namespace == namespace


@pytest.mark.parametrize(
    ("functions_host", "base", "shown", "own"),
    [
        ("", THERE, "https://site.example/alice/a", ""),
        ("", HERE, f"{HERE}/alice/a", "http://alice.localhost:8000/a"),
        ("fn.example", HERE, "http://fn.example:8000/alice/a", ""),
        ("fn.example:81", HERE, "http://fn.example:81/alice/a", ""),
        ("*.fn.example", THERE, *["https://alice.fn.example/a"] * 2),
        ("*.fn.example", HERE, *["http://alice.fn.example:8000/a"] * 2),
        ("*.fn.example:81", HERE, *["http://alice.fn.example:81/a"] * 2),
    ],
)
def test_addresses(
    configure: Any, functions_host: str, base: str, shown: str, own: str
) -> None:
    configure(functions_host, base)
    assert hosts.address_of("alice", "/a") == shown
    assert hosts.own_address_of("alice", "/a") == own


def test_the_address_of_a_namespaces_root(configure: Any) -> None:
    configure("", HERE)
    assert hosts.address_of("alice", "/") == f"{HERE}/alice"
    assert hosts.own_address_of("alice", "/") == "http://alice.localhost:8000/"


@pytest.mark.parametrize(
    ("functions_host", "problem"),
    [
        ("", ""),
        ("fn.example", ""),
        ("*.fn.example", ""),
        ("*.fn.site.example:8443", ""),
        ("*", "is not HOST or *.HOST"),
        ("*.", "is not HOST or *.HOST"),
        ("a.*.example", "is not HOST or *.HOST"),
        ("*.*.example", "is not HOST or *.HOST"),
        ("https://fn.example", "is not HOST or *.HOST"),
        ("fn example", "is not HOST or *.HOST"),
        ("site.example", "nobody could reach the dashboard"),
        ("SITE.example.:443", "nobody could reach the dashboard"),
        ("*.example", "nobody could reach the dashboard"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    functions_host: str, problem: str
) -> None:
    found = hosts.problem_of(functions_host, THERE)
    assert problem in found if problem else not found
