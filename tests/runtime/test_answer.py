"""What a function wrote, turned into an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import answer_lines, http_request
from runtime.answer import HEADER_BYTES_MAX, Reply, read_reply
from runtime.answer_lines import AnswerLines
from runtime.bounds import Bounds
from runtime.errors import FunctionFailed, HeadersTooLarge
from runtime.http_request import RawHeaders

SHARED = Bounds("/alice/api", is_sandboxed=True)
TEXT = "text/plain; charset=utf-8"


def read(stdout: bytes, mode: str = "raw", content_type: str = "") -> Reply:
    return read_reply(stdout, mode, content_type, SHARED)


def read_json(**data: Any) -> Reply:
    return read(json.dumps(data).encode(), "json")


@pytest.mark.parametrize(
    ("stdout", "configured", "expected"),
    [
        (b"hello", "", TEXT),
        (b'{"a": 1}\n', "", "application/json"),
        (b" [1, 2]", "", "application/json"),
        (b"[" * 100_000, "", TEXT),
        (b'"text"', "", TEXT),
        (b"12", "", TEXT),
        (b"{not json}", "", TEXT),
        ("grün".encode(), "", TEXT),
        (b"\xff\xfe", "", "application/octet-stream"),
        (b'{"a": 1}', "text/html", "text/html"),
        (b"<p>", "text/html; charset=utf-8", "text/html; charset=utf-8"),
    ],
)
def test_a_raw_answer_gets_a_content_type(
    stdout: bytes, configured: str, expected: str
) -> None:
    reply = read(stdout, content_type=configured)
    assert reply == Reply(200, [("content-type", expected)], stdout)


def test_an_empty_answer_needs_no_content_type() -> None:
    assert read(b"") == Reply(200, [], b"")


@pytest.mark.parametrize(
    ("stdout", "status", "headers", "body"),
    [
        (b"\nbody", 200, [("content-type", TEXT)], b"body"),
        (b"Status: 404 Not Found\n\nno", 404, [("content-type", TEXT)], b"no"),
        (b"status:201\r\nX-A: b\r\n\r\n", 201, [("x-a", "b")], b""),
        (b"Content-Type: a/b\n\n<p>\n\n", 200, [("content-type", "a/b")], b"<p>\n\n"),
        (b"Location: /x\n\n", 302, [("location", "/x")], b""),
        (b"Status: 303\nLocation: /x\n\n", 303, [("location", "/x")], b""),
        (b"A: 1\nA: 2\n\n", 200, [("a", "1"), ("a", "2")], b""),
        (b"Status: 204\n\nignored", 204, [], b""),
    ],
)
def test_a_cgi_answer_begins_with_headers(
    stdout: bytes, status: int, headers: list[tuple[str, str]], body: bytes
) -> None:
    assert read(stdout, "cgi") == Reply(status, headers, body)


@pytest.mark.parametrize(
    ("stdout", "reason"),
    [
        (b"", "no empty line"),
        (b"just text", "no empty line"),
        (b"X-A: b\n", "no empty line"),
        (b"no colon\n\nbody", "is not a header"),
        (b"X-A: b\n folded\n\n", "is not a header"),
        (b"X A: b\n\n", "is not a header name"),
        (b"X-A : b\n\n", "is not a header name"),
        (b": b\n\n", "is not a header name"),
        (b"X\x00A: b\n\n", "is not a header name"),
        (b"X-A: b\x00c\n\n", "control character"),
        (b"X-A: b\rc\n\n", "control character"),
        (b"Status: 100\n\n", "not a number from 200 to 599"),
        (b"Status: 600\n\n", "not a number from 200 to 599"),
        (b"Status: OK\n\n", "not a number from 200 to 599"),
        (b"X-A: " + b"b" * 40_000 + b"\n\n", "no empty line"),
        (b"A: 1\n" * 200 + b"\n", "over 100"),
    ],
)
def test_a_broken_cgi_answer_is_502_and_says_why(stdout: bytes, reason: str) -> None:
    """Threats 65 and 66."""
    with pytest.raises(FunctionFailed, match=reason) as caught:
        read(stdout, "cgi")
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("data", "kind", "body"),
    [
        ({"body": "text"}, TEXT, b"text"),
        ({"body": {"a": "ü"}}, "application/json", '{"a": "ü"}'.encode()),
        ({"body": [1]}, "application/json", b"[1]"),
        ({"body": 0}, "application/json", b"0"),
        ({"body": "aGk=", "isBase64Encoded": True}, "application/octet-stream", b"hi"),
        ({"body": "x", "headers": {"Content-Type": "text/css"}}, "text/css", b"x"),
    ],
)
def test_a_json_answer_carries_any_body(
    data: dict[str, Any], kind: str, body: bytes
) -> None:
    assert read_json(**data) == Reply(200, [("content-type", kind)], body)


def test_a_json_answer_carries_status_and_headers() -> None:
    reply = read_json(status=404, headers={"X-A": ["1", "2"], "X-B": 3}, body=None)
    assert reply == Reply(404, [("x-a", "1"), ("x-a", "2"), ("x-b", "3")], b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"message": "hi"}, "not a JSON object with"),
        ({"body": "", "statuscode": 200}, "the key 'statuscode'"),
        ({"status": True}, "not a number from 200"),
        ({"status": "200"}, "not a number from 200"),
        ({"status": 200.0}, "not a number from 200"),
        ({"status": 101}, "not a number from 200"),
        ({"status": None}, "not a number from 200"),
        ({"headers": []}, "not an object"),
        ({"headers": {"a": {}}}, "not text or a list"),
        ({"headers": {"a": True}}, "not text or a list"),
        ({"headers": {"a": None}}, "not text or a list"),
        ({"headers": {"a b": "c"}}, "not a header name"),
        ({"headers": {"a": "b\r\nSet-Cookie: c=d"}}, "control character"),
        ({"headers": {"a": "b\x00"}}, "control character"),
        ({"headers": {"ü": "b"}}, "not a header name"),
        ({"headers": {"a": "\ud800"}}, "not text"),
        ({"body": "!", "isBase64Encoded": True}, "not base64"),
        ({"body": "", "isBase64Encoded": 1}, "true or false"),
    ],
)
def test_a_broken_json_answer_is_502_and_says_why(
    data: dict[str, Any], reason: str
) -> None:
    """Threats 65 and 66."""
    with pytest.raises(FunctionFailed, match=reason):
        read_json(**data)


@pytest.mark.parametrize("stdout", [b"", b"hi", b"[]", b"1", b"[" * 100_000, b"\xff"])
def test_a_json_answer_must_be_an_object(stdout: bytes) -> None:
    with pytest.raises(FunctionFailed, match="JSON"):
        read(stdout, "json")


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ('{"body": NaN}', "not JSON: NaN is not a value of JSON"),
        ('{"body": {"a": [Infinity]}}', "not JSON: Infinity"),
        ('{"body": -Infinity, "status": 200}', "not JSON: -Infinity"),
        ('{"headers": {"x": NaN}}', "not JSON: NaN"),
        ('{"body": 1e999}', "a number in its body is too large"),
        ('{"body": [-1e999]}', "a number in its body is too large"),
        ("{'body': 1}", "not JSON: Expecting property name .* line 1 column 2"),
    ],
)
def test_what_only_python_takes_for_json_is_502(written: str, reason: str) -> None:
    """Threat 66: no other reader of the answer would understand it."""
    with pytest.raises(FunctionFailed, match=reason):
        read(written.encode(), "json")


@pytest.mark.parametrize("written", [b"[NaN]", b'{"a": Infinity}'])
def test_raw_output_that_is_no_json_is_not_called_so(written: bytes) -> None:
    assert read(written).headers == [("content-type", TEXT)]


def _json_answer(raw: RawHeaders) -> object:
    headers: dict[str, list[str]] = {}
    for name, value in raw:
        headers.setdefault(name.decode(), []).append(value.decode())
    return read_json(headers=headers)


def _server_answer(raw: RawHeaders) -> bytes:
    lines = AnswerLines(SHARED)
    lines.read(raw, 200, "GET")
    return lines.lines


@pytest.mark.parametrize(
    ("check", "most", "error"),
    [
        (http_request.check_headers, http_request.HEADERS_MAX, HeadersTooLarge),
        (_server_answer, answer_lines.HEADERS_MAX, FunctionFailed),
        (_json_answer, HEADER_BYTES_MAX, FunctionFailed),
    ],
)
def test_limits_of_headers_count_whole_lines_and_their_number(
    check: Callable[[RawHeaders], object], most: int, error: type[Exception]
) -> None:
    """Threat 66: `x: ` and a line's end are bytes too, and each line is work."""
    room = most // 100 - len(b"x: \r\n")
    for lines, size, fits in (
        (100, room, True),
        (100, room + 10, False),
        (100, 0, True),
        (101, 0, False),
    ):
        raw = [(b"x", b"y" * size)] * lines
        if fits:
            check(raw)
        else:
            with pytest.raises(error):
                check(raw)


def test_lone_surrogates_in_a_body_do_not_break_the_answer() -> None:
    """Threat 66."""
    assert read_json(body="a\ud800b").body == b"a?b"
    assert read_json(body=["\ud800"]).body == b'["?"]'


def test_a_header_beyond_latin_1_goes_out_as_utf_8() -> None:
    """Threat 66."""
    assert read_json(headers={"x-a": "→"}).headers == [
        ("x-a", "→".encode().decode("latin-1"))
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "Transfer-Encoding",
        "Content-Length",
        "Trailer",
        "Upgrade",
        "Proxy-Authenticate",
        "X-Zerverless-Error",
        "x-zerverless-revision",
        "X-Accel-Redirect",
        "X-Sendfile",
        "X-Request-Id",
        "Clear-Site-Data",
        "Service-Worker-Allowed",
        "Strict-Transport-Security",
        "Alt-Svc",
        "NEL",
        "Report-To",
        "Set-Login",
        "Use-As-Dictionary",
        "Secure-Session-Registration",
        "Date",
        "Server",
    ],
)
def test_headers_that_are_not_the_functions_are_dropped(name: str) -> None:
    """Threat 65."""
    reply = read_json(headers={name: "x", "X-Kept": "y"})
    assert reply.headers == [("x-kept", "y")]


@pytest.mark.parametrize("written", ["", "nonsense", "text/plain, text/html", "a/b c"])
def test_a_content_type_that_is_not_one_media_type_is_refused(written: str) -> None:
    """Threat 135: of either kind of function, with the reason."""
    with pytest.raises(FunctionFailed, match="is not one media type"):
        read_json(headers={"Content-Type": written})
    with pytest.raises(FunctionFailed, match="is not one media type"):
        _server_answer([(b"content-type", written.encode())])
    apart = Bounds("/alice/api", is_sandboxed=False)
    AnswerLines(apart).read([(b"content-type", written.encode())], 200, "GET")


@given(st.binary(max_size=400), st.sampled_from(["raw", "cgi", "json"]))
def test_whatever_a_function_writes_is_an_answer_or_its_failure(
    stdout: bytes, mode: str
) -> None:
    """Threats 65 and 66: never an exception of another kind, never a bad header."""
    try:
        reply = read(stdout, mode)
    except FunctionFailed:
        return
    assert 200 <= reply.status <= 599
    for name, value in reply.headers:
        assert name.isascii()
        assert value.encode("latin-1").translate(None, b"\r\n\0") == value.encode(
            "latin-1"
        )
