"""Asking for builds: keys, the queue, its slots, reuse and cancellation."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from applications import repository
from applications.models import Application, Function, Sync
from applications.spec import FunctionSpec
from applications.work import State
from builds import build as work
from builds import engine
from builds.errors import InputMissing
from builds.models import Build
from tests.builds.conftest import GOOD, Project, good, make_build, text
from tests.fixtures.rows import make_application

pytestmark = pytest.mark.django_db(transaction=True)


class TestKey:
    """Equal inputs give equal keys; anything that changes the image changes it."""

    FILES = {
        "svc/Dockerfile": GOOD,
        "svc/a": "1",
        "top": "1",
        "docker/Dockerfile": GOOD,
        "docker/Dockerfile.dockerignore": "y\n",
    }
    SPEC = FunctionSpec("/api", "docker", "svc/Dockerfile", "svc")
    OUTSIDE = FunctionSpec("/api", "docker", "docker/Dockerfile", "svc")

    def key(self, project: Project, spec: FunctionSpec, **change: Any) -> str:
        revision = project.commit(self.FILES | change)
        with repository.open_snapshot(project.repo.url, revision.sha) as snapshot:
            return work.key_of(snapshot, spec)

    def test_equal_inputs_of_two_commits_are_one_key(self, project: Project) -> None:
        one = self.key(project, self.SPEC)
        assert self.key(project, self.SPEC, top="2") == one

    @pytest.mark.parametrize(
        ("spec", "change"),
        [
            (SPEC, {"svc/a": "2"}),
            (SPEC, {"svc/new": ""}),
            (SPEC, {"svc/Dockerfile": GOOD + "# more\n"}),
            (OUTSIDE, {"docker/Dockerfile": GOOD + "# more\n"}),
            (OUTSIDE, {"docker/Dockerfile.dockerignore": "z\n"}),
            (OUTSIDE, {"docker/Dockerfile.dockerignore": None}),
        ],
    )
    def test_a_change_of_an_input_is_another_key(
        self, project: Project, spec: FunctionSpec, change: dict[str, Any]
    ) -> None:
        before = self.key(project, spec)
        assert self.key(project, spec, **change) != before

    def test_a_target_is_part_of_it(self, project: Project) -> None:
        other = FunctionSpec("/api", "docker", "svc/Dockerfile", "svc", target="two")
        assert self.key(project, other) != self.key(project, self.SPEC)

    @pytest.mark.parametrize(
        ("dockerfile", "context"), [("svc/Dockerfile", "gone"), ("gone", "svc")]
    )
    def test_what_is_missing_is_named(
        self, project: Project, dockerfile: str, context: str
    ) -> None:
        with pytest.raises(InputMissing, match="gone"):
            self.key(project, FunctionSpec("/api", "docker", dockerfile, context))


class TestRequest:
    def test_one_build_per_function_and_sync(self, project: Project) -> None:
        """Threat 52."""
        build = project.request(good())
        spec, sync = FunctionSpec.from_dict(build.spec), build.sync
        assert sync is not None
        again = work.request(build.function, build.revision, sync, spec, build.key)
        assert (again, again.state, again.order) == (build, State.QUEUED, sync.pk)

    def test_an_older_queued_build_is_superseded(self, project: Project) -> None:
        older, other = project.request(good()), project.request(good(), "/other")
        newer = project.request(good())
        older.refresh_from_db()
        other.refresh_from_db()
        assert (older.state, older.error_code) == (
            State.CANCELLED,
            "build:superseded",
        )
        assert newer.revision.short_sha in older.error
        assert other.state == newer.state == State.QUEUED

    @pytest.mark.parametrize("newer_has", ["other files", "the same files"])
    def test_a_running_build_of_an_older_commit_stops_for_the_newer(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, newer_has: str
    ) -> None:
        """Threat 128: with one slot a fix does not wait for what it mends."""
        real, broken = engine.build, {"Dockerfile": SLEEPING, "x": secrets.token_hex(8)}
        older, wanted = (
            project.request(broken),
            good() if newer_has == "other files" else broken,
        )

        def overtaken(*args: Any) -> engine.BuiltImage:
            monkeypatch.setattr(engine, "build", real)
            newer = project.request({**wanted, "README": "newer"}, "/api")
            assert newer.state == State.QUEUED
            return real(*args)

        monkeypatch.setattr(engine, "build", overtaken)
        ended = work.run_next()
        assert ended == older
        assert (ended.state, ended.error_code) == (State.CANCELLED, "build:superseded")
        assert ended.duration is not None
        assert ended.duration < timedelta(seconds=30)
        newer = Build.objects.latest("pk")
        assert newer.revision.short_sha in text(older)
        assert [row[0] for row in iter(work._claim, None)] == [newer.pk]

    def test_a_commit_that_cannot_begin_ends_the_builds_before_it_too(
        self, project: Project
    ) -> None:
        """Threats 128 and 129."""
        older = project.request(good())
        sync = Sync.objects.create(application=project.application, trigger="manual")
        spec = FunctionSpec.from_dict(older.spec)
        work.refuse(older.function, older.revision, sync, spec, "No Dockerfile.")
        older.refresh_from_db()
        assert (older.state, older.error_code) == (State.CANCELLED, "build:superseded")


class TestReuse:
    def test_an_unchanged_function_is_not_built_again(self, project: Project) -> None:
        files = good()
        first = project.built(files)
        again = project.request({**files, "README": "outside"}, context=".")
        assert again.state == State.QUEUED  # the context is the whole repository
        third = project.request_of(first.revision)
        assert (third.state, third.reused_from) == (State.SUCCEEDED, first)
        assert third.image_id == first.image_id
        assert third.image_tag != first.image_tag
        image = engine.image(first.image_id)
        assert image is not None
        assert {first.image_tag, third.image_tag} <= set(image.tags)
        assert f"reused from {first.revision.short_sha}" in text(third)

    def test_an_image_that_is_gone_is_built_again(self, project: Project) -> None:
        first = project.built(good())
        engine.remove(first.image_tag, first.image_id)
        assert project.request_of(first.revision).state == State.QUEUED

    def test_an_image_that_goes_meanwhile_is_built_again(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Threat 111."""
        first = project.built(good())
        found = engine.image(first.image_id)
        engine.remove(first.image_tag, first.image_id)
        monkeypatch.setattr(engine, "image", lambda _: found)
        again = project.request_of(first.revision)
        assert (again.state, again.reused_from) == (State.QUEUED, None)
        assert (again.image_id, again.image_tag) == ("", "")

    def test_another_applications_image_is_never_used(self, project: Project) -> None:
        """Threats 39, 50 and 120."""
        first = project.built(good())
        bob = make_application(namespace="bob")
        stranger = make_build(key=first.key, application=bob)
        stranger_sync = Sync.objects.create(
            application=stranger.function.application, trigger="manual"
        )
        spec = FunctionSpec.from_dict(first.spec)
        build = work.request(
            stranger.function, stranger.revision, stranger_sync, spec, first.key
        )
        assert build.state == State.QUEUED


class TestSlots:
    def test_no_more_builds_run_than_there_are_slots(
        self, project: Project, settings: Any
    ) -> None:
        """Threat 52: the constraint is the limit, whoever asks."""
        settings.ZERVERLESS_BUILD_CONCURRENCY = 2
        rows = [project.request(good(), f"/f{n}") for n in range(3)]
        claimed = [work._claim(), work._claim(), work._claim()]
        assert [c and c[0] for c in claimed] == [rows[0].pk, rows[1].pk, None]
        assert work.run_next() is None
        slots = Build.objects.filter(state=State.RUNNING).values_list("slot", flat=True)
        assert sorted(s for s in slots if s is not None) == [0, 1]


class TestTurns:
    def test_applications_take_turns(self, db: None, settings: Any) -> None:
        """Threat 126: ten builds of one do not make another's wait for all ten."""
        settings.ZERVERLESS_BUILD_CONCURRENCY = 1
        many, one = make_application(), make_application(namespace="bob")
        first = [make_build(application=many, path=f"/f{n}").pk for n in range(10)]
        late = make_build(application=one).pk
        later = make_build(application=one, path="/b").pk
        order = []
        while claimed := work._claim():
            order.append(claimed[0])
            Build.objects.finish(*claimed, State.FAILED)
        assert order == [first[0], late, first[1], later, *first[2:]]

    def test_a_second_slot_is_anothers_first(self, db: None, settings: Any) -> None:
        """Threat 126."""
        settings.ZERVERLESS_BUILD_CONCURRENCY = 2
        many, one = make_application(), make_application(namespace="bob")
        Build.objects.claim(make_build(application=one, path="/old").pk, slot=9)
        Build.objects.update(state=State.FAILED)
        first = [make_build(application=many, path=f"/f{n}").pk for n in range(3)]
        late = make_build(application=one).pk
        claimed = [work._claim(), work._claim(), work._claim()]
        assert [c and c[0] for c in claimed] == [first[0], late, None]


def _remove(build: Build) -> None:
    Application.objects.update(removed_at=timezone.now())


def _retire(build: Build) -> None:
    Function.objects.update(retired_at=timezone.now())


def _cancel(build: Build) -> None:
    assert work.cancel(build.pk, "ada")


ENDINGS = {"cancelled": _cancel, "removed": _remove, "retired": _retire}


@pytest.mark.parametrize("ending", ENDINGS)
class TestNeverAgain:
    """Threats 96 and 125: what nobody wants any more ends, whatever its worker does."""

    def test_its_worker_was_killed(self, db: None, ending: str) -> None:
        build = make_build()
        Build.objects.claim(build.pk, slot=0)
        ENDINGS[ending](build)
        Build.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert Build.objects.reap() == ([], [])
        self.assert_ended(build)

    def test_its_worker_failed(self, db: None, ending: str) -> None:
        build = make_build()
        token = Build.objects.claim(build.pk, slot=0)
        assert token is not None
        ENDINGS[ending](build)
        assert not Build.objects.release(build.pk, token)
        self.assert_ended(build)

    def test_its_worker_succeeds_all_the_same(self, db: None, ending: str) -> None:
        build = make_build()
        token = Build.objects.claim(build.pk, slot=0)
        assert token is not None
        ENDINGS[ending](build)
        assert not Build.objects.finish(build.pk, token, State.SUCCEEDED)

    def test_it_waits(self, db: None, ending: str) -> None:
        build = make_build()
        ENDINGS[ending](build)
        assert work._claim() is None
        Build.objects.reap()
        self.assert_ended(build)

    def assert_ended(self, build: Build) -> None:
        build.refresh_from_db()
        assert (build.state, build.lease_until) == (State.CANCELLED, None)
        assert build.finished_at is not None
        assert build.error
        assert work._claim() is None


class TestCancel:
    def test_a_queued_build_is_cancelled_at_once(self, project: Project) -> None:
        build = project.request(good())
        assert work.cancel(build.pk, "ada")
        build.refresh_from_db()
        assert (build.state, build.cancelled_by) == (State.CANCELLED, "ada")
        assert not work.cancel(build.pk, "bob")

    def test_a_running_build_stops(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, row = engine.build, project.request({"Dockerfile": SLEEPING})

        def cancelled(*args: Any) -> engine.BuiltImage:
            assert work.cancel(row.pk, "ada")
            return real(*args)

        monkeypatch.setattr(engine, "build", cancelled)
        build = work.run_next()
        assert build is not None
        assert (build.state, build.error_code) == (State.CANCELLED, "build:cancelled")
        assert build.error == "Cancelled by ada."
        assert build.duration is not None
        assert build.duration < timedelta(seconds=10)


SLEEPING = "FROM busybox\nRUN sleep 300\nCMD true\n"
