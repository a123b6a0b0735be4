"""Running a claimed build: an image, or a reason why not."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from applications.work import MAX_ATTEMPTS, Lease, State
from builds import build as work
from builds import engine, images
from builds.log import Writer
from builds.models import Build
from tests.builds.conftest import GOOD, Project, good, text
from tests.fixtures.docker import Daemon
from tests.fixtures.git import Submodule

pytestmark = pytest.mark.django_db(transaction=True)


class TestRun:
    def test_an_image_is_made(self, project: Project) -> None:
        build = project.built(good(), "/v1/api")
        assert build.state == State.SUCCEEDED, build.error
        name = images.name_of("alice", "/v1/api")
        assert re.fullmatch(rf"{name}:\d{{14}}-[0-9a-f]{{20}}", build.image_tag)
        image = engine.image(build.image_tag)
        assert image is not None
        assert (image.id, image.size) == (build.image_id, build.image_size)
        labels = image.config["Labels"]
        assert labels["org.opencontainers.image.revision"] == build.revision.sha
        assert labels["zerverless.function"] == "/v1/api"
        assert labels["zerverless.build"] == str(build.pk)
        assert "==> Context ." in text(build)
        assert "DONE" in text(build)
        assert build.log_lines == len(text(build).splitlines())

    def test_nothing_queued_is_nothing_to_do(self, db: None) -> None:
        assert work.run_next() is None

    def test_builds_run_in_the_order_they_came(self, project: Project) -> None:
        first, second = project.request(good()), project.request(good(), "/b")
        assert [work.run_next(), work.run_next(), work.run_next()] == [
            first,
            second,
            None,
        ]

    def test_what_was_not_fetched_is_named_where_a_build_fails(
        self, project: Project
    ) -> None:
        """Threat 24: nobody looks for an empty folder, or for a pointer of LFS."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\n"
        files = {
            "Dockerfile": "FROM busybox\nCOPY vendor/lib/setup.py /\n",
            "vendor/lib": Submodule("1" * 40),
            "model.bin": pointer + "size 12345\n",
            "README": "version https://example.org" + " " * 100,
        }
        build = project.built(files)
        assert build.state == State.FAILED
        assert build.error.endswith(
            "Not fetched, so not in the build: submodule vendor/lib, "
            "Git LFS file model.bin."
        )
        assert "setup.py" in build.error
        assert build.error in text(build)

    def test_a_broken_dockerfile_fails_with_its_step(self, project: Project) -> None:
        build = project.built({"Dockerfile": "FROM busybox\nRUN echo why; exit 4\n"})
        assert (build.state, build.error_code) == (State.FAILED, "build:step")
        assert build.failed_step == "[2/2] RUN echo why; exit 4"
        assert build.error.endswith("failed with exit code 4: why")
        assert build.error in text(build)
        assert (build.image_id, build.image_tag, build.attempt) == ("", "", 1)

    def test_what_it_says_is_stored_clean_and_without_credentials(
        self, project: Project
    ) -> None:
        """Threats 14, 21 and 49."""
        said = "echo 'no https://ada:s3cret@host/x'; printf '\\000\\377'; exit 1"
        build = project.built({"Dockerfile": f"FROM busybox\nRUN {said}\n"})
        assert build.error.count("https://***@host/x") == 2
        for stored in (build.error, build.failed_step, text(build)):
            assert "s3cret" not in stored
            assert "\0" not in stored

    def test_an_image_without_a_command_is_refused_and_untagged(
        self, project: Project, docker_client: Any, image_prefix: str
    ) -> None:
        """Threat 47."""
        nothing = {"Dockerfile": "FROM scratch\nCOPY . /\n", "x": "1"}
        build = project.built(nothing, "/nocmd")
        assert (build.state, build.error_code) == (State.FAILED, "build:image")
        assert not docker_client.images.list(f"{image_prefix}/alice/nocmd")

    def test_a_syntax_line_works_without_a_registry(self, project: Project) -> None:
        syntax = "# syntax=docker/dockerfile:1\n# escape=`\n"
        build = project.built(good(Dockerfile=syntax + GOOD))
        assert build.state == State.SUCCEEDED, build.error
        neutral = "Using the frontend built into Docker instead" in text(build)
        assert neutral or "resolve image config" in text(build)

    def test_ignored_and_outside_files_build(self, project: Project) -> None:
        """Issue point 7: .dockerignore with an exception, a Dockerfile elsewhere."""
        check = "RUN test \"$(ls -A /app | tr '\\n' ' ')\" = '.dockerignore x '\n"
        build = project.built(
            {
                "docker/D": "FROM busybox\nCOPY . /app\nRUN rm /app/.zerv*\n"
                f"{check}CMD true\n",
                "ctx/.dockerignore": "*\n!x\n",
                "ctx/secret": "no",
                "ctx/x": secrets.token_hex(8),
            },
            context="ctx",
            dockerfile="docker/D",
        )
        assert build.state == State.SUCCEEDED, text(build)

    def test_too_little_disk_starts_nothing(
        self, project: Project, settings: Any
    ) -> None:
        """Threats 43 and 115."""
        settings.ZERVERLESS_DISK_FREE_MIN = 1 << 60
        build = project.built(good())
        assert build.state == State.QUEUED
        assert "ZERVERLESS_DISK_FREE_MIN" in text(build)
        assert "==> Build" not in text(build)

    def test_a_disk_filled_by_a_build_stops_it(
        self, project: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Threat 43."""
        real = engine.build

        def filled(*args: Any) -> engine.BuiltImage:
            settings.ZERVERLESS_DISK_FREE_MIN = 1 << 60
            return real(*args)

        monkeypatch.setattr(engine, "build", filled)
        build = project.built({"Dockerfile": "FROM busybox\nRUN sleep 300\n"})
        assert (build.state, build.error_code) == (State.FAILED, "build:disk")


class TestOurFaults:
    def test_a_daemon_that_is_away_is_tried_again_then_given_up(
        self, project: Project, settings: Any
    ) -> None:
        """Threats 51 and 96."""
        settings.DOCKER_HOST = "unix:///nonexistent/docker.sock"
        build = project.request(good())
        for attempt in range(1, MAX_ATTEMPTS + 1):
            build = self.next_attempt()
            assert build.attempt == attempt
        assert (build.state, build.error_code) == (State.ERRORED, "build:engine")
        assert "Is it running" in build.error

    def next_attempt(self) -> Build:
        long_ago = timezone.now() - timedelta(minutes=5)
        Build.objects.filter(attempt__gt=0).update(started_at=long_ago)
        build = work.run_next()
        assert build is not None
        return build

    def test_a_retry_waits_a_little(self, project: Project, settings: Any) -> None:
        settings.DOCKER_HOST = "unix:///nonexistent/docker.sock"
        project.built(good())
        assert work.run_next() is None

    def test_docker_switched_off_fails_with_what_to_do(
        self, project: Project, settings: Any
    ) -> None:
        settings.DOCKER_ENABLED = False
        build = project.built(good())
        assert (build.state, build.error_code) == (State.FAILED, "build:disabled")

    def test_a_late_result_is_discarded_with_its_image(
        self, project: Project, monkeypatch: pytest.MonkeyPatch, docker_client: Any
    ) -> None:
        """Threats 46 and 99: another worker holds the lease by now."""
        real = engine.build

        def slow(*args: Any) -> engine.BuiltImage:
            image = real(*args)
            Build.objects.update(lease_token="another")
            return image

        monkeypatch.setattr(engine, "build", slow)
        build = project.built(good(), "/late")
        assert (build.state, build.image_id) == (State.RUNNING, "")
        assert engine.image(build.image_tag) is None

    def test_a_result_that_cannot_be_written_leaves_no_image(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Threat 53: the image is there, its row never heard of it."""
        real = Lease.finish

        def broken(lease: Lease, state: State, **fields: Any) -> bool:
            if state == State.SUCCEEDED:
                raise DatabaseError("disk I/O error")
            return real(lease, state, **fields)

        monkeypatch.setattr(Lease, "finish", broken)
        build = project.built(good(), "/lost")
        assert build.state == State.ERRORED
        assert engine.image(build.image_tag) is not None
        images.prune([])
        assert engine.image(build.image_tag) is None

    def test_what_a_lost_attempt_made_is_removed(self, project: Project) -> None:
        """Threats 45 and 53: killed between making the image and recording it."""
        first = project.built(good())
        Build.objects.filter(pk=first.pk).update(
            state=State.QUEUED, attempt=1, image_id="", started_at=None
        )
        second = work.run_next()
        assert second is not None
        assert second.state == State.SUCCEEDED
        assert engine.image(first.image_tag) is None
        assert second.image_tag != first.image_tag

    def test_a_daemon_killed_in_mid_build_is_survived(
        self,
        project: Project,
        own_daemon: Daemon,
        docker_client: Any,
        settings: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Issue point 5: nobody has to do anything but start it again."""
        own_daemon.load(docker_client, "busybox:latest")
        settings.DOCKER_HOST = own_daemon.host
        real = Writer.add

        def killing(writer: Writer, line: str) -> None:
            if " going" in line:
                own_daemon.kill()
            real(writer, line)

        with monkeypatch.context() as patch:
            patch.setattr(Writer, "add", killing)
            build = project.built({"Dockerfile": SLOW})
        assert (build.state, build.attempt) == (State.QUEUED, 1), text(build)
        own_daemon.start()
        build = self.next_attempt()
        assert (build.state, build.attempt) == (State.SUCCEEDED, 2), text(build)


SLOW = "FROM busybox\nRUN echo going; sleep 2\nCMD true\n"
