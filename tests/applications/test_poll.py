"""Polling: one look per repository, only a moved branch goes on, errors back off."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from applications import poll, repository
from applications.errors import GitUnavailable
from applications.models import Application, SyncStatus
from tests.fixtures.rows import make_application

pytestmark = pytest.mark.django_db(transaction=True)
URL = "https://git.example/shared.git"


class Remote:
    """Stands in for the network only: what `ls-remote` says, and how often."""

    def __init__(self) -> None:
        self.heads: dict[str, str] | GitUnavailable = {"main": "a" * 40}
        self.looks = 0

    def remote_heads(self, url: str) -> dict[str, str]:
        self.looks += 1
        if isinstance(self.heads, GitUnavailable):
            raise self.heads
        return self.heads


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Remote:
    fake = Remote()
    monkeypatch.setattr(repository, "remote_heads", fake.remote_heads)
    return fake


def make_due(**fields: object) -> Application:
    return make_application(repo_url=URL, **fields)


def test_applications_of_one_repository_share_a_look(remote: Remote) -> None:
    rows = [make_due(), make_due(), make_due()]
    assert len(poll.look(rows[0])) == 3
    assert poll.look(rows[1]) == []
    assert remote.looks == 1


def test_an_unmoved_branch_goes_no_further(remote: Remote) -> None:
    row = make_due(head_sha="a" * 40)
    assert poll.look(row) == []
    row.refresh_from_db()
    assert row.checked_at is not None
    assert row.next_poll_at > timezone.now()


def test_without_auto_deploy_a_moved_branch_only_shows(remote: Remote) -> None:
    row = make_due(auto_deploy=False, head_sha="b" * 40)
    assert poll.look(row) == []
    row.refresh_from_db()
    assert row.status == SyncStatus.OUT_OF_SYNC


def test_a_missing_branch_names_those_there_are(remote: Remote) -> None:
    row = make_due(branch="trunk")
    assert poll.look(row) == []
    row.refresh_from_db()
    assert row.poll_error_code == "git:branch"
    assert "main" in row.poll_error


def test_errors_move_the_next_poll_away_up_to_an_hour(remote: Remote) -> None:
    """Threat 31."""
    remote.heads = GitUnavailable("the server does not answer")
    row = make_due(poll_interval=60)
    waits = []
    for _ in range(8):
        Application.objects.update(next_poll_at=timezone.now())
        poll.look(Application.objects.get())
        row.refresh_from_db()
        waits.append(round((row.next_poll_at - timezone.now()).total_seconds()))
    assert waits == sorted(waits)
    assert waits[-1] == poll.BACKOFF_MAX
    assert row.poll_failures == 8
    assert row.status == SyncStatus.UNKNOWN


def test_success_forgets_earlier_errors(remote: Remote) -> None:
    """Threat 132: a good list of branches is no success while commits do not come."""
    failed = {"poll_failures": 3, "poll_error": "gone", "poll_error_code": "git:x"}
    row = make_due(**failed)
    assert poll.look(row) == [row]
    row.refresh_from_db()
    assert (row.poll_failures, row.poll_error, row.poll_error_code) == (
        3,
        "gone",
        "git:x",
    )
    poll.settled(row, "a" * 40)
    Application.objects.update(next_poll_at=timezone.now(), **failed)
    assert poll.look(row) == []
    row.refresh_from_db()
    assert (row.poll_failures, row.poll_error, row.poll_error_code) == (0, "", "")


def test_a_fetch_that_fails_moves_the_next_poll_away(remote: Remote) -> None:
    """Threats 31 and 132: also where every list of branches is good."""
    row = make_due(poll_interval=60)
    waits = []
    for _ in range(3):
        Application.objects.update(next_poll_at=timezone.now())
        row = Application.objects.get()
        assert poll.look(row) == [row]
        with pytest.raises(GitUnavailable), poll.counting(row):
            raise GitUnavailable("the pack drips")
        row.refresh_from_db()
        waits.append(round((row.next_poll_at - timezone.now()).total_seconds()))
    assert waits == [120, 240, 480]


def test_polls_have_a_least_interval() -> None:
    """Threat 132."""
    with pytest.raises(ValidationError, match="greater than or equal to 10"):
        make_due(poll_interval=9)
    assert make_due(poll_interval=10).interval == 10


def test_another_source_is_looked_at_anew(remote: Remote) -> None:
    row = make_due(head_sha="a" * 40, head_error="no manifest", poll_failures=2)
    Application.objects.update(next_poll_at=timezone.now() + timedelta(hours=1))
    row.refresh_from_db()
    row.manifest_path = "deploy/zerverless.yaml"
    row.save()
    row.refresh_from_db()
    assert (row.head_sha, row.head_error, row.poll_failures) == ("", "", 0)
    assert row in Application.objects.due()
