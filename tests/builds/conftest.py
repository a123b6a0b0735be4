"""Builds without Git for the engine's tests, and rows with Git for the others."""

from __future__ import annotations

import io
import secrets
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.utils import timezone

from applications.models import Function, Revision, Sync
from builds import engine
from builds.engine import BuiltImage, ImageRequest
from builds.models import Build
from tests.fixtures.rows import make_application


@dataclass
class Maker:
    """Makes images from files given as text; `lines` is the log of the last one."""

    prefix: str
    lines: list[str] = field(default_factory=list)
    stop: Callable[[], bool] = lambda: False

    def __call__(
        self, dockerfile: str, files: Mapping[str, str] | None = None, **order: Any
    ) -> BuiltImage:
        self.lines.clear()
        order.setdefault("tag", self.tag("x"))
        request = ImageRequest(**order)
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for name, text in {**(files or {}), "Dockerfile": dockerfile}.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(text.encode())
                    tar.addfile(info, io.BytesIO(text.encode()))
            return engine.build(request, file, self.lines.append, self.stop)

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
