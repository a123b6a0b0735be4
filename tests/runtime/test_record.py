"""Invocation rows, written behind the answers."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from runtime import record
from runtime.errors import FunctionFailed
from runtime.invoke import Answer, Record, Request
from runtime.models import Invocation
from runtime.route import Route
from tests.fixtures.rows import make_application


def make_row(function: Any, number: int = 1, **fields: Any) -> Invocation:
    route = Route(function.pk, 0, 1, "alice", "/api", "sha256:0", "abc")
    request = Request(id=f"{number:032x}", method="GET", raw_path="/alice/api")
    answer = Answer(200, [], b"body", None, Record({"run": 1.5}, 0))
    row = record.row(route, request, answer, timezone.now(), 12.3456)
    row.deployment_id = None
    for name, value in fields.items():
        setattr(row, name, value)
    return row


@pytest.fixture
def function(db: None) -> Any:
    application = make_application(namespace="alice")
    return application.functions.create(namespace="alice", path="/api")


def test_a_row_says_what_happened(function: Any) -> None:
    record.write([make_row(function)])
    row = Invocation.objects.get()
    assert (row.status, row.response_bytes, row.duration_ms) == (200, 4, 12.346)
    assert row.phases == {"run": 1.5}


def test_text_is_fit_for_both_databases(function: Any) -> None:
    """Threat 81."""
    route = Route(function.pk, 0, 1, "alice", "/api", "sha256:0", "abc")
    request = Request(id="1" * 32, method="GET", raw_path="/" + "x" * 9000)
    error = FunctionFailed("a\0b" + "y" * 1000)
    answer = Answer(502, [], b"", error, Record({}, 1, "log\0\ud800"))
    row = record.row(route, request, answer, timezone.now(), 1)
    row.deployment_id = None
    record.write([row])
    stored = Invocation.objects.get()
    assert (len(stored.path), len(stored.error)) == (500, 500)
    assert "\0" not in stored.error + stored.stderr
    assert stored.error_code == "ZV502"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", "/alice/api"),
        ("page=2&q=%C3%A9", "/alice/api?page=2&q=%C3%A9"),
        ("flag", "/alice/api?flag"),
        ("a=1&access_token=abc&b=2", "/alice/api?a=1&access_token=***&b=2"),
        ("X-Amz-Signature=abc", "/alice/api?X-Amz-Signature=***"),
        ("code=abc&STATE=def", "/alice/api?code=***&STATE=***"),
        ("u=https://me:word@host/x", "/alice/api?u=https://***@host/x"),
        ("key=" + "k" * 9000, "/alice/api?key=***"),
        ("key" * 3000, "/alice/api?" + ("key" * 3000)[:489]),
    ],
)
def test_a_query_is_shown_without_its_secrets(
    function: Any, query: str, shown: str
) -> None:
    """Threat 147."""
    route = Route(function.pk, 0, 1, "alice", "/api", "sha256:0", "abc")
    asked = Request(id="3" * 32, method="GET", raw_path="/alice/api", query=query)
    answer = Answer(200, [], b"", None, Record({}, 0))
    assert record.row(route, asked, answer, timezone.now(), 1).path == shown


def test_what_a_function_says_is_stored_without_credentials(function: Any) -> None:
    """Threats 21 and 81."""
    route = Route(function.pk, 0, 1, "alice", "/api", "sha256:0", "abc")
    request = Request(id="2" * 32, method="GET", raw_path="/")
    said = "cannot read https://ada:s3cret@host/x?token=s3cret"
    answer = Answer(502, [], b"", FunctionFailed(said), Record({}, 1, said))
    row = record.row(route, request, answer, timezone.now(), 1)
    row.deployment_id = None
    record.write([row])
    stored = Invocation.objects.get()
    assert stored.error == stored.stderr
    assert stored.stderr == "cannot read https://***@host/x?token=***"


@pytest.mark.django_db(transaction=True)
def test_a_deleted_function_spoils_no_other_row() -> None:
    """Threat 73."""
    application = make_application(namespace="alice")
    kept = application.functions.create(namespace="alice", path="/kept")
    gone = application.functions.create(namespace="alice", path="/gone")
    rows = [make_row(kept, 1), make_row(gone, 2), make_row(kept, 3)]
    gone.delete()
    record.write(rows)
    assert Invocation.objects.count() == 2


def test_a_full_queue_drops_and_counts(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "QUEUE_MAX", 2)
    recorder = record.Recorder()
    for number in range(5):
        recorder.put(make_row(function, number))
    assert recorder.dropped == 3
