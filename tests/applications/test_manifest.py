"""What a good manifest becomes."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from applications.manifest import Manifest, parse
from applications.spec import Check, FunctionSpec
from tests.fixtures.manifests import (
    ORIGINAL,
    parsed,
    problems,
    with_function,
    with_paths,
)


def only_function(*body: str) -> FunctionSpec:
    (function,) = parsed(with_function(*body)).functions
    return function


def test_the_original_format_works_as_written() -> None:
    manifest = parse(
        ORIGINAL.encode(),
        namespace="alice",
        repo_url="https://github.com/user/my-repo",
        branch="main",
    )
    assert manifest == Manifest(
        name="my-app",
        namespace="alice",
        repo_url="https://github.com/user/my-repo",
        branch="main",
        functions=(
            FunctionSpec(
                path="/api",
                runtime="docker",
                dockerfile="services/api/Dockerfile",
                context="services/api",
            ),
        ),
        warnings=(),
    )


def test_every_optional_key_is_taken_over() -> None:
    assert only_function(
        "dockerfile: docker/api.Dockerfile",
        "context: .",
        "target: production",
        "response: cgi",
        "contentType: text/html; charset=utf-8",
        "timeout: 5m",
        "memory: 1GiB",
        "cpu: 2",
        "concurrency: 16",
        "methods: [GET, POST]",
        "network: none",
        "sandbox: restricted",
        "x-note: [anything, {at: all}]",
        "env: {GREETING: hello}",
        "checks:",
        '  - {request: "GET /x?y=1", expect: {status: 404, contains: "no, 1"}}',
        "  - request: HEAD /",
    ) == FunctionSpec(
        path="/api",
        runtime="docker",
        dockerfile="docker/api.Dockerfile",
        context=".",
        target="production",
        response="cgi",
        content_type="text/html; charset=utf-8",
        timeout=300,
        memory=1 << 30,
        cpu=2.0,
        concurrency=16,
        methods=("GET", "POST"),
        env={"GREETING": "hello"},
        checks=(Check("GET", "/x?y=1", 404, "no, 1"), Check("HEAD", "/", 200, "")),
    )


def test_what_a_server_says_is_taken_over() -> None:
    plain = only_function()
    function = only_function("port: 8080", "instances: {min: 1, max: 2}", "idle: 1h")
    assert function == replace(
        plain, port=8080, min_instances=1, max_instances=2, idle=3600
    )
    assert (plain.min_instances, plain.max_instances, plain.idle) == (0, 4, 300)


@pytest.mark.parametrize(
    ("written", "instances"),
    [("{}", (0, 4)), ("{min: 3}", (3, 4)), ("{min: 6}", (6, 6)), ("{max: 1}", (0, 1))],
)
def test_instances_have_defaults_that_fit(
    written: str, instances: tuple[int, int]
) -> None:
    function = only_function(f"instances: {written}")
    assert (function.min_instances, function.max_instances) == instances


@pytest.mark.parametrize(
    ("body", "exposed", "port"),
    [
        ([], (), None),
        ([], (8080,), 8080),
        ([], (80, 443), None),
        (["port: 3000"], (8080,), 3000),
        (["port: 3000"], (), 3000),
        (["port: none"], (8080,), None),
        (["response: raw"], (8080,), 8080),
        (["response: cgi"], (8080,), None),
        (["contentType: text/html"], (8080,), None),
    ],
)
def test_one_exposed_port_makes_a_server(
    body: list[str], exposed: tuple[int, ...], port: int | None
) -> None:
    assert only_function(*body).port_of(exposed) == port


@pytest.mark.parametrize(
    ("body", "context", "dockerfile"),
    [
        ([], ".", "Dockerfile"),
        (["context: ./services/api"], "services/api", "services/api/Dockerfile"),
        (["context: services//api/"], "services/api", "services/api/Dockerfile"),
        (["context: ./"], ".", "Dockerfile"),
        (['context: ""'], ".", "Dockerfile"),
        (["dockerfile: ./api/Dockerfile"], ".", "api/Dockerfile"),
        (["context: .", "dockerfile: ././a/./b"], ".", "a/b"),
    ],
)
def test_repository_paths_have_one_spelling(
    body: list[str], context: str, dockerfile: str
) -> None:
    function = only_function(*body)
    assert (function.context, function.dockerfile) == (context, dockerfile)


def test_the_default_timeout_is_the_setting(settings: Any) -> None:
    settings.ZERVERLESS_REQUEST_TIMEOUT = 7
    assert only_function().timeout == 7
    assert only_function("timeout: 9s").timeout == 9


@pytest.mark.parametrize(
    "written",
    [
        "on",
        "no",
        "017",
        "0x1F",
        "1_000",
        "1:30",
        "2026-01-01",
        ".inf",
        "True",
        "1.10",
        "3",
        "1e3",
        "=",
        "hello",
    ],
)
def test_an_environment_value_is_the_text_as_written(written: str) -> None:
    """Threat 6."""
    assert only_function(f"env: {{A: {written}}}").env == {"A": written}


def test_keys_are_text_whatever_they_look_like() -> None:
    """Threat 6: `on` and `NO` are no booleans."""
    text = 'env: {on: "1", NO: "2", _: a b}'
    assert only_function(text).env == {"on": "1", "NO": "2", "_": "a b"}


def test_a_multi_line_value_keeps_its_lines() -> None:
    function = only_function("env:", "  KEY: |", "    a", "    \tb")
    assert function.env == {"KEY": "a\n\tb\n"}


def test_the_namespace_may_be_left_to_the_registration() -> None:
    text = ORIGINAL.replace("  namespace: alice", "")
    assert parsed(text).namespace == "alice"


def test_without_a_registration_any_namespace_is_good() -> None:
    assert parsed(ORIGINAL, namespace=None).namespace == "alice"


@pytest.mark.parametrize(
    "url", ["https://github.com/user/my-repo.git", "https://GitHub.com/user/my-repo/"]
)
def test_another_spelling_of_the_same_source_is_no_warning(url: str) -> None:
    manifest = parse(ORIGINAL.encode(), repo_url=url, branch="main")
    assert manifest.warnings == ()


def test_another_source_is_a_warning() -> None:
    manifest = parse(ORIGINAL.encode(), repo_url="https://b.example/x", branch="dev")
    assert [str(warning) for warning in manifest.warnings] == [
        "zerverless.yaml:8:14: spec.source.repoURL: "
        "Differs from the repository the application was registered with",
        "zerverless.yaml:9:13: spec.source.branch: "
        "Differs from the branch that is deployed, dev",
    ]


def test_a_word_older_readers_take_for_a_boolean_is_a_warning() -> None:
    """Threat 6."""
    manifest = parsed(ORIGINAL.replace("my-app", "no"))
    assert manifest.name == "no"
    (warning,) = manifest.warnings
    assert (warning.line, warning.column, warning.path) == (4, 9, "metadata.name")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "---\n" + text + "...\n",
        lambda text: "%YAML 1.2\n---\n" + text,
        lambda text: "# 🙂 \u202e\n" * 4000 + text,
        lambda text: text.replace("# must", "#\tmust"),
        lambda text: text.rstrip("\n"),
    ],
    ids=["bom", "crlf", "markers", "directive", "comments", "tab", "no-newline"],
)
def test_harmless_differences_change_nothing(
    change: Callable[[str], str],
) -> None:
    """Threat 15."""
    assert parsed(change(ORIGINAL)) == parsed(ORIGINAL)


def test_a_spec_survives_json() -> None:
    function = only_function(
        *("methods: [GET]", "env: {A: b}", "concurrency: 2", "port: 80", "idle: 9s"),
        *("instances: {min: 1}", "checks: [{request: GET /, expect: {contains: a}}]"),
    )
    assert (
        FunctionSpec.from_dict(json.loads(json.dumps(function.as_dict()))) == function
    )
    assert json.loads(json.dumps(function.config())) == function.config()


def test_a_spec_of_another_version_can_still_be_read() -> None:
    stored: dict[str, Any] = {
        "path": "/a",
        "runtime": "docker",
        "dockerfile": "D",
        "context": ".",
    }
    assert FunctionSpec.from_dict({**stored, "later": 1}) == FunctionSpec(**stored)


def test_what_was_stored_before_servers_equals_what_says_nothing_of_them() -> None:
    """The plan must not take an upgrade of the platform for a change."""
    now = only_function("response: cgi")
    server = {"port", "min_instances", "max_instances", "idle", "network", "checks"}
    before = {k: v for k, v in now.as_dict().items() if k not in server}
    assert FunctionSpec.from_dict(before).config() == now.config()


def test_build_part_and_config_share_nothing() -> None:
    function = only_function()
    assert set(function.build_part()) == {"dockerfile", "context", "target"}
    assert not set(function.build_part()) & set(function.config())


def test_two_hundred_functions_are_fine() -> None:
    paths = [f"/f{number}" for number in range(200)]
    assert [f.path for f in parsed(with_paths(*paths)).functions] == paths
    assert problems(with_paths(*paths, "/one-more")) == [
        "6:5: spec.functions: Too long: at most 200 items"
    ]


def test_ten_functions_are_read_in_tens_of_milliseconds() -> None:
    data = with_paths(*(f"/f{number}" for number in range(10))).encode()
    times = []
    for _ in range(20):
        started = time.process_time()
        parse(data)
        times.append(time.process_time() - started)
    assert statistics.median(times) < 0.1
