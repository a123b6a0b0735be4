"""Builds without Git for the engine's tests, and rows with Git for the others."""

from __future__ import annotations

import io
import secrets
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.utils import timezone

from applications import declare, repository
from applications.models import Application, Function, Revision, Sync
from applications.spec import FunctionSpec
from builds import build as work
from builds import engine, log
from builds.client import ImageRequest, Login
from builds.engine import BuiltImage
from builds.models import Build
from tests.fixtures.docker import LABEL
from tests.fixtures.git import Repository
from tests.fixtures.rows import make_application


@dataclass
class Maker:
    """Makes images from files given as text; `lines` is the log of the last one."""

    prefix: str
    lines: list[str] = field(default_factory=list)
    stop: Callable[[], bool] = lambda: False
    logins: Sequence[Login] = ()

    def __call__(
        self, dockerfile: str, files: Mapping[str, str] | None = None, **order: Any
    ) -> BuiltImage:
        self.lines.clear()
        order.setdefault("tag", self.tag("x"))
        # An image whose tag the next one takes is found by its label and removed too.
        order["labels"] = {**order.get("labels", {}), LABEL: self.prefix}
        request = ImageRequest(**order)
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for name, text in {**(files or {}), "Dockerfile": dockerfile}.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(text.encode())
                    tar.addfile(info, io.BytesIO(text.encode()))
            return engine.build(
                request, file, self.lines.append, self.stop, self.logins
            )

    def tag(self, name: str) -> str:
        return f"{self.prefix}/engine/{name}:1"

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def make_image(image_prefix: str) -> Maker:
    """`make_image("FROM busybox ...", {"file": "text"}, target=...)` -> BuiltImage."""
    return Maker(image_prefix)


def make_build(**fields: Any) -> Build:
    """A queued build of a function, in an application of its own, for a sync."""
    application = fields.pop("application", None) or make_application()
    path = fields.pop("path", "/api")
    function, _ = Function.objects.get_or_create(
        application=application, namespace=application.namespace, path=path
    )
    revision = Revision.objects.create(
        application=application, sha=secrets.token_hex(20), committed_at=timezone.now()
    )
    sync = Sync.objects.create(application=application, trigger=Sync.Trigger.MANUAL)
    values = {"key": secrets.token_hex(32), "order": sync.pk, "spec": {}, **fields}
    return Build.objects.create(
        function=function, revision=revision, sync=sync, **values
    )


@dataclass
class Project:
    """An application with a real repository, and builds of what is committed."""

    application: Application
    repo: Repository

    def commit(self, files: Mapping[str, Any]) -> Revision:
        """Commit the files and observe the commit, as a poll would."""
        sha = self.repo.commit(files)
        repository.fetch(self.repo.url, sha, "main")
        return Revision.objects.create(
            application=self.application, sha=sha, committed_at=timezone.now()
        )

    def request(
        self, files: Mapping[str, Any], path: str = "/api", **spec: Any
    ) -> Build:
        """A build of a new commit, requested as the pipeline does it."""
        return self.request_of(self.commit(files), path, **spec)

    def request_of(self, revision: Revision, path: str = "/api", **spec: Any) -> Build:
        values = {"dockerfile": "Dockerfile", "context": ".", **spec}
        wanted = FunctionSpec(path=path, runtime="docker", **values)
        sync = Sync.objects.create(application=self.application, trigger="manual")
        function = declare.function(self.application, path)
        with repository.open_snapshot(self.repo.url, revision.sha) as snapshot:
            key = work.key_of(snapshot, wanted)
        return work.request(function, revision, sync, wanted, key)

    def built(self, files: Mapping[str, Any], path: str = "/api", **spec: Any) -> Build:
        """A build of a new commit, run to its end."""
        self.request(files, path, **spec)
        build = work.run_next()
        assert build is not None
        return build


@pytest.fixture
def project(make_repo: Callable[..., Repository], image_prefix: str) -> Project:
    """An application whose images get this run's prefix."""
    repo = make_repo("app")
    return Project(make_application(repo_url=repo.url), repo)


GOOD = 'FROM busybox\nCOPY . /app\nCMD ["cat", "/app/x"]\n'


def text(build: Build) -> str:
    return "".join(log.whole(build))


def good(**files: str) -> dict[str, str]:
    """A buildable commit that no other test makes."""
    return {"Dockerfile": GOOD, "x": secrets.token_hex(8), **files}
