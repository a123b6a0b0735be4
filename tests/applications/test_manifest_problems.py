"""What is wrong with a manifest, where, and what to do: one line per problem."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications import keywords
from applications.errors import ManifestError
from applications.manifest import parse
from tests.fixtures.manifests import (
    FULL,
    ORIGINAL,
    problems,
    with_function,
    with_paths,
)


def in_function(*body: str) -> list[str]:
    """The problems of a function with these lines; the first of them is line 8."""
    return problems(with_function(*body))


def test_every_problem_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = (
        ORIGINAL.replace("runtime: docker", "runtime: pyhton")
        .replace("name: my-app", "nmae: my-app")
        .replace("namespace: alice", "namespace: bob")
    )
    assert problems(text + "      timeoutt: 30s\n      context: .\n") == [
        "4:3: metadata.name: Required value",
        '4:3: metadata.nmae: Unknown field: did you mean "name"?',
        "5:14: metadata.namespace: "
        "Forbidden: the application is registered in namespace alice",
        '12:16: spec.functions[0].runtime: Unsupported value "pyhton": use docker',
        '15:7: spec.functions[0].timeoutt: Unknown field: did you mean "timeout"?',
        "16:7: spec.functions[0].context: Duplicate value: first set at line 14",
    ]


def test_a_problem_carries_the_file_name() -> None:
    with pytest.raises(ManifestError) as caught:
        parse(b"", filename="deploy/zerverless.yaml")
    assert str(caught.value) == (
        "deploy/zerverless.yaml:1:1: Required value: the file is empty"
    )


def test_what_later_versions_can_do_is_refused_by_name() -> None:
    waiting = ["secrets", "schedule"]
    found = problems(FULL)
    for name in [*waiting, "codeFile", "requirements"]:
        message = f'Forbidden: "{name}" is not supported yet by this version'
        assert sum(line.endswith(message) for line in found) == 1
    assert found[2] == (
        '33:16: spec.functions[1].runtime: Unsupported value "python": '
        "not supported yet by this version, use docker"
    )
    assert len(found) == len(waiting) + 3


@pytest.mark.parametrize("runtime", ["python", "js", "lua"])
def test_a_runtime_of_later_is_refused_by_name(runtime: str) -> None:
    (line,) = problems(ORIGINAL.replace("runtime: docker", f"runtime: {runtime}"))
    assert f'"{runtime}": not supported yet by this version' in line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "sandbox: baseline",
            '8:16: spec.functions[0].sandbox: Unsupported value "baseline": ',
        ),
        ("network: all", 'network: Unsupported value "all": use none, egress'),
        ("timeout: 30", "timeout: Invalid value: write a duration such as 30s or 5m"),
        ("timeout: 1:30", "timeout: Invalid value: write a duration"),
        ("timeout: 017", "timeout: Invalid value: write a duration"),
        ("timeout: 0s", "timeout: Invalid value: must be between 1s and 15m"),
        ("timeout: 16m", "timeout: Invalid value: must be between 1s and 15m"),
        ("timeout: -5s", "timeout: Invalid value: write a duration"),
        ('timeout: "30s\\n"', "timeout: Invalid value: write a duration"),
        ("timeout:", "timeout: Required value"),
        ("memory: 512", "memory: Invalid value: write a size such as 256Mi or 1Gi"),
        ('memory: "512"', "memory: Invalid value: write a size"),
        ("memory: 256MB", "memory: Invalid value: write a size"),
        ("memory: \uff1256Mi", "memory: Invalid value: write a size"),
        ("memory: 15Mi", "memory: Invalid value: must be between 16Mi and 16Gi"),
        ("memory: 17Gi", "memory: Invalid value: must be between 16Mi and 16Gi"),
        ("cpu: True", "cpu: Invalid value: must be a number"),
        ('cpu: "1"', "cpu: Invalid value: must be a number"),
        ("cpu: .inf", "cpu: Invalid value: must be a number"),
        ("cpu: .nan", "cpu: Invalid value: must be a number"),
        ("cpu: 1e99", "cpu: Invalid value: must be between 0.05 and 16"),
        ("cpu: 0", "cpu: Invalid value: must be between 0.05 and 16"),
        ("cpu: -1", "cpu: Invalid value: must be between 0.05 and 16"),
        ("concurrency: yes", "concurrency: Invalid value: must be a whole number"),
        ("concurrency: 1.5", "concurrency: Invalid value: must be a whole number"),
        ("concurrency: 017", "concurrency: Invalid value: must be a whole number"),
        ("concurrency: 0", "concurrency: Invalid value: must be between 1 and 1000"),
        (f"concurrency: {'9' * 5000}", "concurrency: Invalid value: must be a whole"),
        ("port: 0", "8:13: spec.functions[0].port: Invalid value: must be between 1"),
        ("port: 65536", "port: Invalid value: must be between 1 and 65535"),
        ('port: "8080"', "port: Invalid value: write a port from 1 to 65535, or none"),
        ("port: 80.5", "port: Invalid value: write a port from 1 to 65535, or none"),
        ("port: no", "port: Invalid value: write a port from 1 to 65535, or none"),
        ("port: true", "port: Invalid value: write a port from 1 to 65535, or none"),
        ("port: 017", "port: Invalid value: write a port from 1 to 65535, or none"),
        ("port:", "port: Required value"),
        ("port: [8080]", "port: Invalid value: must be a whole number or text"),
        ("instances: 3", "instances: Invalid value: must be a mapping"),
        ("instances: {min: -1}", "instances.min: Invalid value: must be between 0 and"),
        ("instances: {max: 0}", "instances.max: Invalid value: must be between 1 and"),
        ("instances: {max: 65}", "instances.max: Invalid value: must be between 1 and"),
        ("instances: {max: two}", "instances.max: Invalid value: must be a whole numb"),
        ("instances: {most: 2}", "instances.most: Unknown field: use min, max, or a"),
        (
            "instances: {min: 3, max: 2}",
            "8:24: spec.functions[0].instances.min: "
            "Invalid value: must not be more than max, 2",
        ),
        ("idle: 300", "idle: Invalid value: write a duration such as 30s or 5m"),
        ("idle: 0s", "idle: Invalid value: must be between 1s and 1d"),
        ("idle: 25h", "idle: Invalid value: must be between 1s and 1d"),
        ("checks: {request: GET /}", "checks: Invalid value: must be a list"),
        ("checks: []", "checks: Required value: the list is empty"),
        ("checks: [GET /]", "checks[0]: Invalid value: must be a mapping"),
        ("checks: [{}]", "checks[0].request: Required value"),
        ("checks: [{request: /}]", "checks[0].request: Invalid value: write a method"),
        ("checks: [{request: get /}]", "checks[0].request: Invalid value: write a met"),
        ("checks: [{request: TRACE /}]", "checks[0].request: Invalid value: write a m"),
        ("checks: [{request: GET x}]", "checks[0].request: Invalid value: write a met"),
        ('checks: [{request: "GET /a b"}]', "request: Invalid value: write a method"),
        ('checks: [{request: "GET /a#b"}]', "request: Invalid value: write a method"),
        ("checks: [{request: GET /%zz}]", "request: Invalid value: holds a percent-en"),
        ("checks: [{request: GET /a%00}]", "request: Invalid value: holds a percent-e"),
        ("checks: [{request: GET /../a}]", "request: Invalid value: no . or .. as a p"),
        ("checks: [{request: GET /%2e%2E}]", "request: Invalid value: no . or .. as a"),
        ("checks: [{request: GET /, expect: 200}]", "expect: Invalid value: must be a"),
        (
            "checks: [{request: GET /, expect: {status: 100}}]",
            "checks[0].expect.status: Invalid value: must be between 200 and 599",
        ),
        (
            'checks: [{request: GET /, expect: {contains: ""}}]',
            "checks[0].expect.contains: Required value",
        ),
        (
            "checks: [{request: GET /, expect: {contains: 42}}]",
            'checks[0].expect.contains: Invalid value: must be text, write "42" in quo',
        ),
        (
            "checks: [{request: GET /, expect: {body: x}}]",
            "checks[0].expect.body: Unknown field: use status, contains, or a name",
        ),
        (
            "checks: [{request: HEAD /, expect: {contains: x}}]",
            "8:43: spec.functions[0].checks[0].expect.contains: "
            "Forbidden: the answer to HEAD has no body",
        ),
        ("methods: GET", "methods: Invalid value: must be a list"),
        ("methods: []", "methods: Required value: the list is empty"),
        ("methods: [get]", 'methods[0]: Unsupported value "get": use GET, HEAD'),
        ("methods: [GET, GET]", "methods[1]: Duplicate value: first set at line 8"),
        ("response: true", 'response: Unsupported value "true": use raw, cgi, json'),
        ("target: 3", 'target: Invalid value: must be text, write "3" in quotes'),
        ("target: --load", "target: Invalid value: must be letters, digits"),
        (f"target: {'a' * 200}", "target: Too long: at most 128 characters"),
        ("contentType: html", "contentType: Invalid value: write a media type"),
        ('contentType: "text/html\\r\\nX: y"', "holds the control character U+000D"),
        ("env: [A]", "env: Invalid value: must be a mapping"),
        ("env: {A: }", "env.A: Required value"),
        ("env: {A: [b]}", "env.A: Invalid value: must be text or a number or true"),
        ("env: {9A: b}", "env.9A: Invalid value: must be letters, digits"),
        ("env: {A-B: b}", "env.A-B: Invalid value: must be letters, digits"),
        ('env: {"A\\n": b}', "env.A\\n: Invalid value: must be letters, digits"),
        ("env: {HTTP_HOST: b}", "env.HTTP_HOST: Forbidden: the platform sets this"),
        ("env: {PATH_INFO: b}", "env.PATH_INFO: Forbidden: the platform sets this"),
        ("env: {ZERVERLESS_X: b}", "env.ZERVERLESS_X: Forbidden: the platform"),
        ("memroy: 1Gi", 'memroy: Unknown field: did you mean "memory"?'),
        ("content_type: a/b", 'content_type: Unknown field: did you mean "contentType'),
        ("Timeout: 1s", 'Timeout: Unknown field: did you mean "timeout"?'),
        ("zzz: 1", "zzz: Unknown field: use path, runtime, dockerfile"),
        ("? [a]", "Invalid value: a key must be text"),
        ("env: {{ VALUE }}", "Invalid value: a key must be text"),
    ],
    ids=lambda value: value[:40],
)
def test_a_wrong_value_is_refused_with_advice(line: str, message: str) -> None:
    """Threats 6, 7 and 12."""
    found = in_function(line)
    assert len(found) == 1, found
    assert found[0].startswith("8:")
    assert message in found[0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["port: 8080", "response: cgi"],
            '9:7: spec.functions[0].response: Forbidden: with "port" it is a server, '
            "this is for one container per request",
        ),
        (
            ["contentType: text/html", "port: 8080"],
            '8:7: spec.functions[0].contentType: Forbidden: with "port" it is a server',
        ),
        (
            ["port: none", "idle: 5m"],
            '9:7: spec.functions[0].idle: Forbidden: with "port: none" it is no server '
            "but one container per request",
        ),
        (
            ["port: 8080", "env: {A: 1, PORT: 80}"],
            "9:19: spec.functions[0].env.PORT: Forbidden: the platform sets this for a",
        ),
        (
            ["instances: {max: 2}", "response: json"],
            '8:7: spec.functions[0].instances: Forbidden: with "response" it is no ser',
        ),
    ],
)
def test_keys_that_make_no_sense_together_are_refused(
    lines: list[str], message: str
) -> None:
    (found,) = in_function(*lines)
    assert found.startswith(message)


@pytest.mark.parametrize(
    "lines",
    [
        ["port: 8080", "response: raw"],
        ["port: none", "response: cgi"],
        ["port: none", "contentType: text/html"],
        ["instances: {min: 1}", "idle: 1h"],  # the image may expose a port
        ["instances: {min: 6}"],
        ["env: {PORT: 80}"],
    ],
)
def test_keys_that_may_make_sense_together_are_taken(lines: list[str]) -> None:
    assert in_function(*lines) == []


def test_a_value_is_pointed_at_exactly() -> None:
    assert in_function("memory: 256Mi", "cpu:   99", "bad: 1") == [
        "9:14: spec.functions[0].cpu: Invalid value: must be between 0.05 and 16",
        "10:7: spec.functions[0].bad: Unknown field: use path, runtime, dockerfile, "
        "context, target, port, response, contentType, timeout, memory, cpu, "
        "concurrency, instances, idle, methods, env, network, sandbox, checks, "
        "or a name that begins with x-",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("zerverless.io/v1", "v1", '1:13: apiVersion: Unsupported value "v1": use zer'),
        ("kind: Application", "kind: Function", 'kind: Unsupported value "Function"'),
        ("kind: Application", "", "1:1: kind: Required value"),
        ("kind:", "Kind:", 'Kind: Unknown field: did you mean "kind"?'),
        ("name: my-app", "name: 7", 'name: Invalid value: must be text, write "7" in'),
        ("name: my-app", "name: My_App", "name: Invalid value: must be 1 to 63"),
        ("name: my-app", 'name: "my-app\\n"', "name: Invalid value: must be 1 to 63"),
        ("name: my-app", "name: \uff4dy-app", "name: Invalid value: must be 1 to 63"),
        ("name: my-app", "name: app\u0663", "name: Invalid value: must be 1 to 63"),
        ("name: my-app", f"name: {'a' * 64}", "name: Invalid value: must be 1 to 63"),
        ("branch: main", "branch: --upload-pack=x", "branch: Invalid value: is not a"),
        ("branch: main", "branch: 1.0", 'branch: Invalid value: must be text, write "'),
        ("branch: main", "brunch: main", 'brunch: Unknown field: did you mean "bra'),
    ],
)
def test_a_wrong_head_is_refused(old: str, new: str, message: str) -> None:
    """Threats 7 and 12."""
    assert any(message in line for line in problems(ORIGINAL.replace(old, new)))


@pytest.mark.parametrize("name", ["admin", "static", "api", "healthz", "login"])
def test_a_reserved_namespace_is_refused(name: str) -> None:
    """Threat 8."""
    text = ORIGINAL.replace("alice", name)
    (line,) = problems(text, namespace=name)
    assert f'5:14: metadata.namespace: Invalid value: "{name}" is reserved' in line


def test_a_namespace_of_others_is_refused() -> None:
    """Threat 9."""
    assert problems(ORIGINAL, namespace="mallory") == [
        "5:14: metadata.namespace: "
        "Forbidden: the application is registered in namespace mallory"
    ]


@pytest.mark.parametrize("key", ["context", "dockerfile"])
@pytest.mark.parametrize(
    "path",
    [
        *("..", "../x", "a/../b", "./../x", "a/..", "/etc", "//etc", "~/x", "$HOME/x"),
        *("a\\\\b", "C:\\\\x", "https://e.example/x", "a\\0b", "a\\nb", ".git/config"),
        *("a/.GIT/hooks", "a\\u202eb", "a\\u200bb", "-f", "a" * 201),
    ],
)
def test_a_path_that_leaves_the_repository_is_refused(key: str, path: str) -> None:
    """Threat 10."""
    (line,) = in_function(f'{key}: "{path}"')
    assert f"spec.functions[0].{key}: Invalid value" in line


@pytest.mark.parametrize("path", [".", "./", "docker/", "docker/."])
def test_a_dockerfile_is_a_file(path: str) -> None:
    (line,) = in_function(f'dockerfile: "{path}"')
    assert "must name a file" in line or "no ./" in line


def test_a_key_given_twice_is_refused_with_both_lines() -> None:
    """Threat 5."""
    assert in_function("memory: 256Mi", "cpu: 1", "memory: 9Gi") == [
        "10:7: spec.functions[0].memory: Duplicate value: first set at line 8"
    ]


def test_a_key_twice_anywhere_is_refused_even_where_nothing_is_read() -> None:
    """Threat 5."""
    assert in_function("x-mine: {a: {b: 1, b: 2}}") == [
        "8:26: spec.functions[0].x-mine.a.b: Duplicate value: first set at line 8"
    ]


def test_two_functions_with_one_path_are_refused_with_both_lines() -> None:
    """Threat 5."""
    assert problems(with_paths("/a", "/b", '"/a"')) == [
        "8:14: spec.functions[2].path: Duplicate value: first set at line 6"
    ]


@pytest.mark.parametrize(
    "path",
    ["/API", "/api/", "//api", "/./api", "/api/..", "/%61pi", "/\uff41pi", "/a b"],
)
def test_a_path_with_a_second_spelling_is_refused(path: str) -> None:
    """Threat 5: no two manifest paths can normalise to one URL."""
    (line,) = problems(with_paths(path))
    assert line.startswith("6:14: spec.functions[0].path: Invalid value: each part")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "1:1: Required value: the file is empty"),
        ("# nothing\n\n", "1:1: Required value: the file is empty"),
        ("---\n...\n", "2:1: Required value"),
        ("just words", "1:1: Invalid value: must be a mapping"),
        ("- a\n- b\n", "1:1: Invalid value: must be a mapping"),
        ("a: b\n---\nc: d\n", "2:1: Forbidden: one document per file"),
        (ORIGINAL + "---\n" + ORIGINAL, "15:1: Forbidden: one document per file"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(text: str, line: str) -> None:
    """Threat 4."""
    assert problems(text)[0].startswith(line)


@pytest.mark.parametrize("functions", ["", "[]", "null", "{}", "/api", "[null]"])
def test_no_functions_is_an_error_not_an_empty_application(functions: str) -> None:
    """An emptied file must never retire everything that serves."""
    head, _, _ = ORIGINAL.partition("  functions:")
    (line,) = problems(f"{head}  functions: {functions}\n")
    assert line.startswith("10:")
    assert "spec.functions" in line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (ORIGINAL.encode("utf-16"), "1:1: Invalid value: this is UTF-16"),
        (ORIGINAL.encode("utf-16-be"), "1:1: Invalid value: holds the control char"),
        ("a: 1\nb: é".encode("latin-1"), "2:4: Invalid value: byte 0xE9 is not UTF-8"),
        (b"a: 1\r\nb: \x00", "2:4: Invalid value: holds the control character U+0000"),
        (b"a: \xed\xa0\x80", "1:4: Invalid value: byte 0xED is not UTF-8"),
        (b"a: \x1b[2J", "1:4: Invalid value: holds the control character U+001B"),
        ("\ufeffa: \x07".encode(), "1:4: Invalid value: holds the control char"),
        (b"a: 1\n\tb: 2", "2:1: Invalid YAML: a tab cannot stand here, use spaces"),
        (b"a:\tb\t# c", "1:3: Invalid YAML: a tab cannot stand here, use spaces"),
        (b"a: b: c", '1:5: Invalid YAML: a second ":" on this line'),
        (b"a: [1, 2", "1:9: Invalid YAML: expected ',' or ']'"),
        (b'a: "b', "1:6: Invalid YAML: found unexpected end of stream"),
        (b"a: @b", "1:4: Invalid YAML: found character '@' that cannot start"),
        ("# 🙂\r\né: '🙂🙂' b".encode(), "2:9: Invalid YAML: expected <block end>"),
    ],
)
def test_text_that_cannot_be_read_is_refused_at_its_place(
    data: bytes, line: str
) -> None:
    """Threats 4, 14 and 15."""
    assert problems(data)[0].startswith(line)


@pytest.mark.parametrize("escape", ["\\0", "\\ud800", "\\uDFFF", "\\e", "\\x85"])
def test_an_escape_cannot_bring_in_what_text_may_not_hold(escape: str) -> None:
    """Threat 14: NUL and lone surrogates never reach a database."""
    for line in (f'env: {{A: "x{escape}"}}', f'x-a: {{"k{escape}": 1}}'):
        (found,) = in_function(line)
        assert "Invalid value: holds the control character U+" in found


@given(st.text(min_size=1), st.sampled_from(["key", "value", "path"]))
def test_a_problem_repeats_little_and_nothing_that_does_not_print(
    text: str, where: str
) -> None:
    """Threat 13."""
    secret = '"' + "".join(f"\\U{ord(c):08x}" for c in text * 50) + '"'
    body = {"key": f"{secret}: 1", "value": f"response: {secret}"}
    source = with_paths(secret) if where == "path" else with_function(body[where])
    for line in problems(source):
        assert line.isprintable()
        assert text * 9 not in line or len(text * 9) < 80


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["port: none"], "port: none"),
        (["response: cgi"], "response"),
        (["contentType: text/html"], "contentType"),
        (["port: none", "response: json"], "port: none"),
    ],
    ids=str,
)
def test_egress_is_refused_where_it_can_be_no_server(
    lines: list[str], why: str
) -> None:
    assert in_function("network: egress", *lines) == [
        "8:16: spec.functions[0].network: Forbidden: egress is for servers, "
        f'with "{why}" it is one container per request'
    ]


@pytest.mark.parametrize("lines", [[], ["port: 80"], ["response: raw"]], ids=str)
def test_egress_is_taken_where_it_is_or_may_become_one(lines: list[str]) -> None:
    """Whether the image exposes a port is known once it is there (Build)."""
    assert in_function("network: egress", *lines) == []


@pytest.mark.parametrize("lines", [[], ["port: 80"], ["port: none"]], ids=str)
def test_egress_is_refused_where_the_operator_has_switched_it_off(
    lines: list[str], settings: Any
) -> None:
    settings.ZERVERLESS_EGRESS = False
    assert in_function("network: egress", *lines) == [
        "8:16: spec.functions[0].network: "
        "Forbidden: egress is switched off here (ZERVERLESS_EGRESS)"
    ]
    assert in_function("network: none", *lines) == []


def string_formats() -> set[str]:
    function = keywords.schema()["definitions"]["function"]["properties"]
    return {key for key, rule in function.items() if rule.get("type") == "string"}


@pytest.mark.parametrize("key", sorted(string_formats() - {"path", "runtime"}))
@pytest.mark.parametrize("value", ["true", "7", "1.5", "null", "[a]", "{a: b}"])
def test_text_is_never_made_out_of_something_else(key: str, value: str) -> None:
    """Threat 6, over every text key of the schema."""
    (line,) = in_function(f"{key}: {value}")
    assert f"spec.functions[0].{key}: " in line


@given(
    st.sampled_from(["cpu", "concurrency"]),
    st.one_of(st.booleans(), st.floats(), st.integers(), st.text(max_size=5)),
)
def test_only_numbers_in_range_are_numbers(key: str, value: object) -> None:
    """Threat 6."""
    if isinstance(value, str):
        value = '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    text = with_function(f"{key}: {value}")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    low, high = (0.05, 16) if key == "cpu" else (1, 1000)
    if problems(text):
        assert not (is_number and isinstance(value, int) and low <= value <= high)
    else:
        assert is_number
        assert low <= float(str(value)) <= high
