"""The environment a request becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.environment import TOTAL_MAX, is_reserved, request_environment
from runtime.errors import BadRequest, HeadersTooLarge, UriTooLong

FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")


def environment(**changes: Any) -> dict[str, str]:
    values: dict[str, Any] = {
        "method": "GET",
        "uri": "/alice/api",
        "script_name": "/alice/api",
        "path_info": "",
        "query": "",
        "headers": [],
        "body": b"",
        "client": "192.0.2.1",
        "scheme": "http",
        "host": "example.test:8000",
        "http_version": "1.1",
        **changes,
    }
    return request_environment(**values)


def test_a_request_becomes_the_names_of_cgi() -> None:
    found = environment(
        method="POST",
        uri="/alice/api/users",
        path_info="/users",
        query="a=1",
        headers=[JSON, ("x-api-key", "k")],
        body=b"[]",
    )
    assert found == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "Zerverless",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "example.test",
        "SERVER_PORT": "8000",
        "REQUEST_SCHEME": "http",
        "REMOTE_ADDR": "192.0.2.1",
        "REQUEST_METHOD": "POST",
        "REQUEST_URI": "/alice/api/users?a=1",
        "SCRIPT_NAME": "/alice/api",
        "PATH_INFO": "/users",
        "QUERY_STRING": "a=1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": "2",
        "HTTP_X_API_KEY": "k",
        "INPUT_A": "1",
    }


def test_without_a_body_there_is_no_length_to_read() -> None:
    assert "CONTENT_LENGTH" not in environment()
    assert "CONTENT_TYPE" not in environment()


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port"),
    [
        ("example.test", "http", "example.test", "80"),
        ("example.test", "https", "example.test", "443"),
        ("[::1]:8000", "http", "[::1]", "8000"),
        ("[::1]", "http", "[::1]", "80"),
    ],
)
def test_the_host_gives_name_and_port(
    host: str, scheme: str, name: str, port: str
) -> None:
    found = environment(host=host, scheme=scheme)
    assert (found["SERVER_NAME"], found["SERVER_PORT"]) == (name, port)
    assert found.get("HTTPS") == ("on" if scheme == "https" else None)


@pytest.mark.parametrize(
    "name",
    [
        "proxy",
        "connection",
        "te",
        "transfer-encoding",
        "proxy-authorization",
        "x_forwarded_for",
        "ld preload",
        "",
    ],
)
def test_headers_no_function_may_see_stay_out(name: str) -> None:
    """Threat 75."""
    found = environment(headers=[(name, "attack")])
    assert "attack" not in found.values()


def test_repeated_headers_are_joined_as_http_joins_them() -> None:
    found = environment(
        headers=[("accept", "a"), ("accept", "b"), ("cookie", "a=1"), ("cookie", "b=2")]
    )
    assert found["HTTP_ACCEPT"] == "a, b"
    assert found["HTTP_COOKIE"] == "a=1; b=2"


def test_a_header_in_utf_8_reads_as_text() -> None:
    assert environment(headers=[("x-name", "Jörg".encode().decode("latin-1"))])[
        "HTTP_X_NAME"
    ] == ("Jörg")


@pytest.mark.parametrize(
    ("cookies", "left"),
    [
        ("zerverless_session=s3cret; theme=dark", "theme=dark"),
        ("theme=dark;zerverless_csrf=s3cret", "theme=dark"),
        (" zerverless_session = s3cret", None),
        ("zerverless_session=s3cret; zerverless_session=s3cret", None),
        ("zerverless_theme=dark", None),
        ("my_zerverless_session=mine", "my_zerverless_session=mine"),
    ],
)
def test_the_dashboards_cookies_stay_with_us(cookies: str, left: str | None) -> None:
    """Threat 63."""
    found = environment(headers=[("cookie", cookies)])
    assert found.get("HTTP_COOKIE") == left
    assert "s3cret" not in json.dumps(found)


def test_authorization_belongs_to_the_function() -> None:
    """Threat 63: the dashboard has no tokens, so this one is never the platform's."""
    found = environment(headers=[("authorization", "Bearer mine")])
    assert found["HTTP_AUTHORIZATION"] == "Bearer mine"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=Ada&n=", {"INPUT_NAME": "Ada", "INPUT_N": ""}),
        ("a=1&a=2", {"INPUT_A": "1"}),
        ("a-b=1&a_b=2&a.b=3", {"INPUT_A_B": "1"}),
        ("LD_PRELOAD=x&PATH=y", {"INPUT_LD_PRELOAD": "x", "INPUT_PATH": "y"}),
        ("%00=x&a=%00", {"INPUT__": "x"}),
        ("n=%C3%BC", {"INPUT_N": "ü"}),
        ("n=%ff", {"INPUT_N": "\ufffd"}),
        (f"{'n' * 200}=1", {}),
    ],
)
def test_query_fields_become_inputs(query: str, expected: dict[str, str]) -> None:
    """Threat 75."""
    found = environment(query=query)
    assert {k: v for k, v in found.items() if k.startswith("INPUT_")} == expected
    assert found["QUERY_STRING"] == query


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (FORM, b"name=Ada&x=1+2", {"INPUT_NAME": "Ada", "INPUT_X": "1 2"}),
        (JSON, b'{"name": "Ada", "n": 1.5}', {"INPUT_NAME": "Ada", "INPUT_N": "1.5"}),
        (
            JSON,
            b'{"yes": true, "no": false}',
            {"INPUT_YES": "true", "INPUT_NO": "false"},
        ),
        (JSON, b'{"list": [1], "map": {}, "none": null}', {}),
        (JSON, b'{"nul": "\\u0000", "half": "\\ud800"}', {}),
        (JSON, b"[1, 2]", {}),
        (JSON, b"not json", {}),
        (JSON, b'{"a": NaN}', {}),
        (JSON, b"[" * 60_000, {}),
        (JSON, b'{"n": ' + b"9" * 5000 + b"}", {}),
        (("content-type", "application/ld+json; a=b"), b'{"a": "b"}', {"INPUT_A": "b"}),
        (("content-type", "text/plain"), b"a=b", {}),
    ],
)
def test_body_fields_become_inputs(
    kind: tuple[str, str], body: bytes, expected: dict[str, str]
) -> None:
    """Threat 75: what cannot be a field is left to standard input."""
    found = environment(headers=[kind], body=body)
    assert {k: v for k, v in found.items() if k.startswith("INPUT_")} == expected


def test_a_multipart_form_gives_its_texts_and_not_its_files() -> None:
    text = b'Content-Disposition: form-data; name="title"\r\n\r\nHello\r\nyou'
    upload = (
        b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\ncontent"
    )
    body = b"--b\r\n" + text + b"\r\n--b\r\n" + upload + b"\r\n--b--\r\n"
    found = environment(
        headers=[("content-type", 'multipart/form-data; boundary="b"')], body=body
    )
    assert {k: v for k, v in found.items() if k.startswith("INPUT_")} == {
        "INPUT_TITLE": "Hello\r\nyou"
    }


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--b\r\n\r\n"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"no boundary here"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nno name\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b" * 20_000),
    ],
)
def test_a_broken_multipart_form_has_no_fields(kind: str, body: bytes) -> None:
    """Threat 75."""
    found = environment(headers=[("content-type", kind)], body=body)
    assert not any(name.startswith("INPUT_") for name in found)


def test_the_query_wins_over_the_body() -> None:
    found = environment(headers=[FORM], body=b"a=body&b=body", query="a=query")
    assert (found["INPUT_A"], found["INPUT_B"]) == ("query", "body")


@pytest.mark.parametrize("size", [TOTAL_MAX - 100, TOTAL_MAX * 40])
def test_fields_that_do_not_fit_are_left_out_together(size: int) -> None:
    body = b'{"small": "x", "large": "' + b"x" * size + b'"}'
    found = environment(headers=[JSON], body=body)
    assert found["ZERVERLESS_INPUT_OMITTED"] == "1"
    assert "INPUT_SMALL" not in found


def test_a_query_that_does_not_fit_is_414() -> None:
    """Threat 75."""
    with pytest.raises(UriTooLong):
        environment(query="a=" + "x" * TOTAL_MAX)


def test_headers_that_do_not_fit_are_431() -> None:
    """Threat 75."""
    with pytest.raises(HeadersTooLarge):
        environment(headers=[("x-large", "x" * TOTAL_MAX)])


def test_more_fields_than_anybody_means_are_400() -> None:
    """Threat 69."""
    with pytest.raises(BadRequest):
        environment(query="&".join(f"f{n}=1" for n in range(1001)))


def test_a_nul_character_is_400() -> None:
    """Threat 75."""
    with pytest.raises(BadRequest):
        environment(path_info="/a\0b")


@pytest.mark.parametrize("name", ["HTTP_X", "INPUT_", "ZERVERLESS_X", "PATH_INFO"])
def test_our_names_are_reserved(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["PATH", "HTTPS_PROXY", "MY_INPUT_A", "HOME"])
def test_other_names_are_free(name: str) -> None:
    assert not is_reserved(name)


@given(
    query=st.text(max_size=200),
    headers=st.lists(st.tuples(st.text(max_size=20), st.text(max_size=50)), max_size=8),
    body=st.binary(max_size=200),
)
def test_whatever_comes_only_reserved_names_are_set(
    query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Threat 75: no input can reach a variable a program or loader acts on."""
    try:
        found = environment(query=query, headers=[FORM, *headers], body=body)
    except BadRequest:
        return
    assert all(is_reserved(name) for name in found)
    assert not any("\0" in value for value in found.values())
    assert "HTTP_PROXY" not in found
