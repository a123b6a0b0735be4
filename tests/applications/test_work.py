"""Leases: a row is done by one worker, ends whatever happens, and survives a kill."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone
from django_q.exceptions import TimeoutException

from applications.errors import GitUnavailable, PlatformError, UserError
from applications.models import LEAST_SECONDS, Application, Sync
from applications.work import FINAL_STATES, MAX_ATTEMPTS, State, attempt, held
from tests.fixtures.rows import make_application
from zerverless_site import pipeline

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sync() -> Sync:
    return Sync.objects.create(application=make_application(), trigger="manual")


def take(sync: Sync) -> str:
    token = Sync.objects.claim(sync.pk)
    assert token is not None
    sync.refresh_from_db()
    return token


def lapse(sync: Sync) -> None:
    """The worker was killed: nobody renews the lease any more."""
    past = timezone.now() - timedelta(seconds=1)
    Sync.objects.filter(pk=sync.pk).update(lease_until=past)


def test_of_two_claims_one_wins(sync: Sync) -> None:
    """Threat 100."""
    assert Sync.objects.claim(sync.pk) is not None
    assert Sync.objects.claim(sync.pk) is None


def test_the_attempt_is_counted_before_any_work(sync: Sync) -> None:
    """Threat 96."""
    take(sync)
    assert sync.attempt == 1


def test_a_lapsed_lease_puts_the_row_back_in_line(sync: Sync) -> None:
    """Threat 98."""
    take(sync)
    lapse(sync)
    assert Sync.objects.reap() == ([sync.pk], [])
    sync.refresh_from_db()
    assert sync.state == State.QUEUED


def test_a_sync_of_a_removed_application_ends(sync: Sync) -> None:
    """Threats 96 and 125: neither its first nor its second attempt is made."""
    token = take(sync)
    Application.objects.update(removed_at=timezone.now())
    assert not Sync.objects.release(sync.pk, token)
    sync.refresh_from_db()
    assert sync.state == State.CANCELLED
    other = Sync.objects.create(application=sync.application, trigger="poll")
    assert Sync.objects.claim(other.pk) is None
    assert Sync.objects.reap() == ([], [])
    other.refresh_from_db()
    assert (other.state, other.error != "") == (State.CANCELLED, True)


def test_a_live_lease_is_left_alone(sync: Sync) -> None:
    take(sync)
    assert Sync.objects.reap() == ([], [])


def test_a_poison_row_is_given_up_with_a_reason(sync: Sync) -> None:
    """Threat 96: a row that kills its worker is not tried for ever."""
    for _ in range(MAX_ATTEMPTS):
        take(sync)
        lapse(sync)
        Sync.objects.reap()
    sync.refresh_from_db()
    assert sync.state == State.ERRORED
    assert sync.error_code == "work:lost"
    assert sync.error


def drip(words: str = "") -> None:
    raise GitUnavailable(f"It drips.{words}")


def test_a_server_that_fails_is_tried_again_after_a_pause(
    sync: Sync, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat 132: and the log has one line, with no traceback."""
    with attempt(Sync.objects.all(), sync, take(sync), sync.deadline):
        drip("\n$ git fetch\nfatal: early EOF")
    sync.refresh_from_db()
    assert sync.state == State.QUEUED
    assert sync.lease_until is not None
    assert sync.lease_until > timezone.now()
    assert Sync.objects.claim(sync.pk) is None
    (line,) = caplog.records
    assert line.exc_info is None
    assert line.getMessage().endswith("It drips. | $ git fetch | fatal: early EOF")
    assert pipeline.request_sync(sync.application, Sync.Trigger.MANUAL) == sync
    assert Sync.objects.claim(sync.pk) is not None


def test_all_attempts_of_a_sync_have_one_deadline(sync: Sync, settings: Any) -> None:
    """Threat 132."""
    settings.ZERVERLESS_GIT_TIMEOUT = 60
    token = take(sync)
    assert sync.time_left == 60
    Sync.objects.update(queued_at=timezone.now() - timedelta(seconds=59), attempt=2)
    sync.refresh_from_db()
    assert sync.time_left == LEAST_SECONDS
    with attempt(Sync.objects.all(), sync, token, sync.deadline):
        drip()
    sync.refresh_from_db()
    assert (sync.state, sync.error) == (State.ERRORED, "It drips.")


def test_a_late_writer_is_discarded(sync: Sync) -> None:
    """Threat 99."""
    late = take(sync)
    lapse(sync)
    Sync.objects.reap()
    take(sync)
    assert not Sync.objects.finish(sync.pk, late, State.SUCCEEDED)
    sync.refresh_from_db()
    assert sync.state == State.RUNNING


def test_a_held_lease_is_renewed_and_notices_its_loss(
    sync: Sync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threat 99."""
    monkeypatch.setattr("applications.work.HEARTBEAT_SECONDS", 0.05)
    token = take(sync)
    lapse(sync)
    with held(Sync.objects.all(), sync.pk, token) as lease:
        for _ in range(100):
            sync.refresh_from_db()
            if sync.lease_until and sync.lease_until > timezone.now():
                break
            lease.lost.wait(0.05)
        assert not lease.lost.is_set()
        Sync.objects.filter(pk=sync.pk).update(lease_token="another")
        assert lease.lost.wait(5)


def fail_with(sync: Sync, error: BaseException) -> None:
    def work() -> None:
        raise error

    token = take(sync)
    with attempt(Sync.objects.all(), sync, token):
        work()
    sync.refresh_from_db()


def test_the_users_error_fails_the_row_at_once(sync: Sync) -> None:
    fail_with(sync, UserError("no such branch", "git:branch"))
    assert (sync.state, sync.error_code) == (State.FAILED, "git:branch")
    assert sync.finished_at is not None


def test_our_error_is_tried_again_with_a_limit(sync: Sync) -> None:
    for _ in range(MAX_ATTEMPTS - 1):
        fail_with(sync, PlatformError("the daemon is away"))
        assert sync.state == State.QUEUED
    fail_with(sync, PlatformError("the daemon is away"))
    assert sync.state == State.ERRORED


def test_an_unexpected_error_ends_the_row_without_its_text(sync: Sync) -> None:
    """Threat 97: nothing escapes the task boundary, nothing stays running."""
    fail_with(sync, ValueError("secret detail"))
    assert sync.state == State.ERRORED
    assert "secret detail" not in sync.error


def test_the_queues_time_out_is_nobodys_to_swallow(sync: Sync) -> None:
    """Threat 97: it goes through, nothing is written, the reaper offers the row."""
    with pytest.raises(TimeoutException):
        fail_with(sync, TimeoutException("Task exceeded maximum timeout value"))
    sync.refresh_from_db()
    assert (sync.state, sync.attempt) == (State.RUNNING, 1)
    lapse(sync)
    assert Sync.objects.reap() == ([sync.pk], [])


def test_a_failing_database_leaves_the_row_to_the_reaper(sync: Sync) -> None:
    """Threat 101."""
    fail_with(sync, OperationalError("database is locked"))
    assert sync.state == State.RUNNING
    lapse(sync)
    assert Sync.objects.reap() == ([sync.pk], [])


def test_final_states_know_no_worker(sync: Sync) -> None:
    token = take(sync)
    for state in FINAL_STATES:
        Sync.objects.finish(sync.pk, token, state)
    sync.refresh_from_db()
    assert sync.is_final
    assert (sync.lease_token, sync.lease_until) == ("", None)


def test_one_sync_of_an_application_runs_at_a_time(sync: Sync) -> None:
    """Threat 100: the database refuses the second."""
    other = Sync.objects.create(application=sync.application, trigger="poll")
    take(sync)
    with pytest.raises(IntegrityError), transaction.atomic():
        Sync.objects.claim(other.pk)
    assert Application.objects.count() == 1
