"""Names, branches and paths: what is accepted has one spelling and harms nothing."""

from __future__ import annotations

import subprocess
import unicodedata

import pytest
from django.core.exceptions import ValidationError
from django.urls import get_resolver
from hypothesis import example, given, settings
from hypothesis import strategies as st

from applications import names
from runtime import environment
from tests.fixtures.rows import make_application

# Characters that look like, fold to or hide beside the ones a name may have.
CONFUSING = [
    "\n",
    "\r",
    "\0",
    "\uff41",
    "\u0663",
    "\u0430",
    "\u212a",
    "\u200b",
    "\u202e",
]
anything = st.one_of(
    st.text(max_size=70),
    st.text(st.sampled_from([*"a0-._/@~$\\A:.", *CONFUSING]), max_size=12),
)


@pytest.mark.parametrize("value", ["a", "0", "my-app", "a--b", "x" * 63, "1-2"])
def test_a_dns_label_is_a_name(value: str) -> None:
    assert not names.name_problem(value)


@pytest.mark.parametrize(
    "value",
    ["", "-", "-a", "a-", "A", "a_b", "a.b", "a/b", "x" * 64, "a\n", "\na", "%61"]
    + [f"a{mark}" for mark in CONFUSING]
    + [f"a{mark}b" for mark in CONFUSING],
)
def test_anything_else_is_no_name(value: str) -> None:
    """Threat 7."""
    assert names.name_problem(value)
    assert names.namespace_problem(value)


@given(anything)
def test_what_is_accepted_is_ascii_and_equal_to_its_normal_form(value: str) -> None:
    """Threat 7."""
    checks = [names.name_problem, names.function_path_problem]
    for check in checks:
        if not check(value):
            assert value.isascii()
            assert value.isprintable()
            assert unicodedata.normalize("NFKC", value) == value
    if not names.name_problem(value) or not names.function_path_problem(value):
        assert value == value.lower()


def test_the_platforms_own_first_segments_are_no_namespaces() -> None:
    """Threat 8: no namespace can shadow a route, or be shadowed by one."""
    routes = [str(entry.pattern) for entry in get_resolver().url_patterns]
    first = {route.split("/")[0] for route in routes if "<" not in route.split("/")[0]}
    assert {"-", "admin"} <= first
    for segment in first | {"favicon.ico", "robots.txt", ".well-known", "-"}:
        assert names.namespace_problem(segment), segment


@pytest.mark.parametrize("value", sorted(names.RESERVED))
def test_reserved_names_are_refused(value: str) -> None:
    """Threat 8."""
    assert "reserved" in names.namespace_problem(value)
    with pytest.raises(ValidationError):
        names.validate_namespace(value)


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["admin", "a\n", "A", "\uff41"])
def test_the_model_holds_the_same_rules(value: str) -> None:
    """Threats 7 and 8."""
    with pytest.raises(ValidationError):
        make_application(namespace=value)


@pytest.mark.parametrize(
    "value", ["/", "/api", "/a/b/c", "/v1.2", "/a_b", "/a-b", "/" + "a" * 63]
)
def test_function_paths(value: str) -> None:
    assert not names.function_path_problem(value)


@pytest.mark.parametrize(
    "value",
    ["", "api", "/api/", "//", "//a", "/A", "/a//b", "/.", "/..", "/a/../b", "/a..b"]
    + ["/.env", "/a.", "/-", "/-/admin", "/a b", "/a%2fb", "/a?b", "/a#b", "/a\\b"]
    + ["/" + "a" * 64, "/a" * 101, "/a\n"]
    + [f"/a{mark}" for mark in CONFUSING],
)
def test_what_is_no_function_path(value: str) -> None:
    """Threats 5 and 7."""
    assert names.function_path_problem(value)


BRANCHES = [
    *("main", "release/1.0", "a@b", "a#1", "v1.2+x", "_x", "#SIG-38", "funci\u00f3n"),
    *("it's", "a=b", "@", "a/HEAD", "a{b}", "!x", "(x)", "a,b;c&d|e", "$HOME", '"'),
    *("\u65e5\u672c\u8a9e", "refs/heads/x", "a.b", "a-", "x" * 200, "%2e%2e"),
]


@pytest.mark.parametrize("value", BRANCHES)
def test_branches(value: str) -> None:
    assert not names.branch_problem(value)
    assert git_accepts(value)


@pytest.mark.parametrize(
    "value",
    [
        *("HEAD", "-b", "--upload-pack=touch", "a..b", "a//b", "/a", "a/", "a.", ".a"),
        *("a/.b", "a.lock", "a.lock/b", "a@{1}", "@{-1}", "a b", "a~1", "a^", "a:b"),
        *("a?", "a*", "a[b", "a\\b", "a\n", "a\tb", "a\x7f", "/", "."),
    ],
)
def test_what_is_no_branch(value: str) -> None:
    """Threat 17: nothing that Git takes for an option or another revision."""
    assert names.branch_problem(value)
    assert not git_accepts(value)


@pytest.mark.parametrize(
    "value", ["", "x" * 201, "a\u202eb", "a\u200b", "a\x9b", "\ud800"]
)
def test_a_branch_that_cannot_be_seen_is_refused(value: str) -> None:
    assert names.branch_problem(value)


@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from("a0-._/@#+{}L~^=':é*[\\ \x01"), min_size=1, max_size=9))
@example("a.lock")
@example("x/HEAD")
def test_git_accepts_the_very_branches_we_accept(value: str) -> None:
    assert git_accepts(value) is not bool(names.branch_problem(value))


def git_accepts(value: str) -> bool:
    command = ["git", "check-ref-format", "--branch", value]
    done = subprocess.run(command, cwd="/", capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize(
    ("value", "normal"),
    [
        *[("", "."), (".", "."), ("./", "."), ("././", "."), ("a", "a"), ("./a", "a")],
        *[("a/", "a"), ("a//b", "a/b"), ("./a/./b/", "a/b"), (".a", ".a")],
        *[("/a", "/a"), ("/", "/"), ("../a", "../a"), ("a/../b", "a/../b")],
        ("https://e.example//a", "https://e.example//a"),
    ],
)
def test_normal_path(value: str, normal: str) -> None:
    assert names.normal_path(value) == normal
    assert names.normal_path(normal) == normal


@pytest.mark.parametrize(
    "value",
    ["a", "zerverless.yaml", "a/b.c", ".github/x", "a b", "d\u00e9j\u00e0", "a..b"],
)
def test_repository_paths(value: str) -> None:
    assert not names.repository_path_problem(value)


@pytest.mark.parametrize(
    "value",
    [
        *("", ".", "./a", "a/", "a//b", "/a", "..", "../a", "a/..", "a/../b", "a/./b"),
        *("~a", "$A/b", "a\\b", "a\0", "a\n", "https://a/b", ".git", "a/.Git/b", "-a"),
        *("a" * 201, "a\u202eb", "a\u200bb", "a\ud800"),
    ],
)
def test_what_is_no_repository_path(value: str) -> None:
    """Threat 10."""
    assert names.repository_path_problem(value)


@given(anything)
def test_an_accepted_path_stays_below_the_root(value: str) -> None:
    """Threat 10."""
    path = names.normal_path(value)
    if not names.repository_path_problem(path):
        assert not path.startswith(("/", "-"))
        assert not {"", ".", "..", ".git"} & set(path.lower().split("/"))


@pytest.mark.parametrize("value", ["A", "_", "PATH", "LD_PRELOAD", "a1", "HTTPS_ONLY"])
def test_variables(value: str) -> None:
    assert not names.variable_problem(value)


@pytest.mark.parametrize(
    "value", ["", "1A", "A-B", "A B", "A=B", "A\n", "\u00c4", "A" * 129]
)
def test_what_is_no_variable(value: str) -> None:
    assert names.variable_problem(value).startswith("must be")


@pytest.mark.parametrize(
    "value", ["HTTP_HOST", "INPUT_A", "ZERVERLESS_COMMIT", "REQUEST_METHOD", "HTTPS"]
)
def test_variables_of_the_platform_are_refused(value: str) -> None:
    assert names.variable_problem(value).startswith("Forbidden")


@pytest.mark.parametrize(
    "value",
    [
        *("HTTP_", "HTTP_X", "INPUT_", "ZERVERLESS_", "AUTH_TYPE", "CONTENT_LENGTH"),
        *("CONTENT_TYPE", "GATEWAY_INTERFACE", "HTTPS", "PATH_INFO", "QUERY_STRING"),
        *("PATH_TRANSLATED", "REMOTE_ADDR", "REMOTE_HOST", "REMOTE_IDENT", "HTTPS_"),
        *("REMOTE_USER", "REQUEST_METHOD", "REQUEST_SCHEME", "REQUEST_URI", "PORT"),
        *("SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "http_x"),
        *("SERVER_SOFTWARE", "PATH", "REQUEST_METHODS", "A_HTTP_B", "HOME", "INPUT"),
    ],
)
def test_manifest_and_runtime_agree_on_the_platforms_variables(value: str) -> None:
    assert names.is_platform_variable(value) == environment.is_reserved(value)


@given(anything)
def test_no_message_repeats_what_was_given(value: str) -> None:
    """Threat 13."""
    marker = f"{value}secret-of-mine"
    for check in (
        names.namespace_problem,
        names.function_path_problem,
        names.branch_problem,
        names.repository_path_problem,
        names.variable_problem,
    ):
        assert "secret-of-mine" not in check(marker)
