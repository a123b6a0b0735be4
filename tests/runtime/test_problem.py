"""The form of platform errors."""

from __future__ import annotations

import json

import pytest

from runtime.errors import InvocationError, MethodNotAllowed, TooManyRequests
from runtime.problem import Problem, prefers_html


def families() -> list[type[InvocationError]]:
    """Every class of the family, however deep."""
    found: list[type[InvocationError]] = [InvocationError]
    for family in found:
        found += family.__subclasses__()
    return [family for family in found if family.status != 405]


@pytest.mark.parametrize("family", families())
def test_every_error_has_a_code_and_a_status(family: type[InvocationError]) -> None:
    error = family("What to do.")
    headers, body = Problem.of(error).render("the-request", "*/*")
    document = json.loads(body)
    assert document["status"] == family.status
    assert document["code"] == dict(headers)["x-zerverless-error"] == family.code
    assert document["detail"] == error.message
    assert document["request_id"] == "the-request"
    assert family.code.startswith(f"ZV{family.status}")


def test_retry_after_and_allow() -> None:
    headers, body = Problem.of(TooManyRequests("Busy.")).render("id")
    assert dict(headers)["retry-after"] == "1"
    assert json.loads(body)["retryable"] is True
    headers, _ = Problem.of(MethodNotAllowed("No.", ("GET", "POST"))).render("id")
    assert dict(headers)["allow"] == "GET, POST"


def test_the_page_is_escaped() -> None:
    """Threat 85."""
    problem = Problem(404, "ZV404", "<b>", "<script>")
    headers, body = problem.render("<id>", "text/html")
    assert b"<script>" not in body
    assert b"<id>" not in body
    policy = dict(headers)["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/json;q=0.5, text/html", True),
        ("text/html;q=0.4, application/problem+json;q=0.5", False),
        ("text/html;q=x", False),
        ("text/html;q=0", False),
    ],
)
def test_negotiation(accept: str, is_html: object) -> None:
    assert prefers_html(accept) is is_html
