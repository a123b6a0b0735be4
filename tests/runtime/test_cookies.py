"""Cookies and passwords of functions, on a host that namespaces share."""

from __future__ import annotations

import pytest
from django.conf import settings

from runtime import challenges, cookies

BELOW = "/alice/a"


@pytest.mark.parametrize(
    ("asked", "set_"),
    [
        ("a=b", "a=b; Path=/alice/a"),
        ("a=b; Path=/", "a=b; Path=/alice/a"),
        ("a=b; path = /alice", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/ab", "a=b; Path=/alice/a"),
        ("a=b; Path=/mallory/b", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a/", "a=b; Path=/alice/a/"),
        ("a=b; PATH=/alice/a/deep; Secure", "a=b; Secure; Path=/alice/a/deep"),
        ("a=b; Path=/alice/a; Path=/", "a=b; Path=/alice/a"),
        ("a=b; Path=/; Path=/alice/a/x", "a=b; Path=/alice/a/x"),
        ('a=b; Path="/"', "a=b; Path=/alice/a"),
        ("a=b; Path", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a/../../", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a/%2E./x", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a\\x", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a/%5cx", "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a/" + "x" * 2000, "a=b; Path=/alice/a"),
        ("a=b; Path=/alice/a/\xe9", "a=b; Path=/alice/a"),
        ("a=b; Domain=example.org; HttpOnly", "a=b; HttpOnly; Path=/alice/a"),
        ("a=b; DOMAIN = .example.org", "a=b; Path=/alice/a"),
        (
            "__Secure-a=b; Secure; SameSite=None; Max-Age=5",
            "__Secure-a=b; Secure; SameSite=None; Max-Age=5; Path=/alice/a",
        ),
        ("my_zerverless_session=x", "my_zerverless_session=x; Path=/alice/a"),
        ("__Host-a=b; Secure; Path=/", None),
        ("__host-a=b; Secure; Path=/", None),
        ("zerverless_session=x", None),
        (" zerverless_csrf = x; Path=/-/", None),
        ("zerverless_anything=x", None),
        ("=zerverless_session=x", None),
        ("zerverless_session", None),
        ("nameless", None),
        ("", None),
    ],
)
def test_a_cookie_lives_below_its_function(asked: str, set_: str | None) -> None:
    """Threats 65 and 136."""
    assert cookies.settable(asked, BELOW) == set_


@pytest.mark.parametrize(
    ("asked", "set_"),
    [
        ("a=b", "a=b"),
        ("a=b; Path=/; Domain=example.org; Secure", "a=b; Path=/; Secure"),
        ("__Host-a=b; Secure; Path=/", "__Host-a=b; Secure; Path=/"),
        ("zerverless_session=x", None),
    ],
)
def test_on_its_own_host_a_cookie_stays_there(asked: str, set_: str | None) -> None:
    """Threat 136."""
    assert cookies.settable(asked, None) == set_


def test_cookies_are_bounded() -> None:
    """Threat 136: with the reason."""
    assert not cookies.problem_of([f"a={'x' * 4095}; Path=/", *["b=c"] * 49])
    assert "'a' is over 4 KiB" in cookies.problem_of([f"a={'x' * 4096}"])
    assert "more cookies than 50" in cookies.problem_of(["b=c"] * 51)
    assert "16 KiB" in cookies.problem_of([f"a={'x' * 4000}"] * 5)


def test_the_dashboards_cookies_have_the_prefix_that_no_function_gets() -> None:
    """Threat 63."""
    assert cookies.is_ours(settings.SESSION_COOKIE_NAME)
    assert cookies.is_ours(settings.CSRF_COOKIE_NAME)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ('Basic realm="Team"', 'Basic realm="/alice/a Team"'),
        ("basic REALM = Team", 'Basic realm="/alice/a Team"'),
        ("Basic", 'Basic realm="/alice/a "'),
        (
            'Basic realm="a \\" b", charset="UTF-8"',
            'Basic realm="/alice/a a \\" b", charset="UTF-8"',
        ),
        ('Bearer realm="x", Basic realm="y"', 'Basic realm="/alice/a x"'),
        ('Basic realm="/mallory/b x"', 'Basic realm="/alice/a /mallory/b x"'),
        ('Bearer realm="https://x.example/basic"', None),
        ('Digest realm="x", nonce="y"', None),
    ],
)
def test_a_realm_is_the_functions_own(asked: str, sent: str | None) -> None:
    """Threat 136: what asks for no password that a browser keeps stays as it is."""
    assert challenges.own(asked, BELOW, "/alice/a/x") == (sent or asked)


def test_no_password_is_asked_for_in_the_root_directory() -> None:
    """Threat 136: a browser would send it along with every request to the host."""
    assert challenges.own('Basic realm="x"', "/alice", "/alice") is None
    assert challenges.own('Basic realm="x"', "/alice", "/alice/") is not None
