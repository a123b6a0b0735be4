"""The sample application: a real Git repository in the data directory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from django.conf import settings

from applications.models import Application, Sync
from zerverless_site import pipeline

NAMESPACE, NAME, PATH = "demo", "sample", "/hello"
_IDENTITY = ("-c", "user.name=Zerverless", "-c", "user.email=sample@localhost")


def repository() -> Path:
    """Ensure the sample's repository exists; commits made there since stay."""
    path: Path = settings.DATA_DIR / "sample"
    if not (path / ".git").exists():
        shutil.copytree(settings.BASE_DIR / "sample", path, dirs_exist_ok=True)
        _git(path, "init", "--quiet", "--initial-branch=main")
        _git(path, "add", ".")
        _git(path, *_IDENTITY, "commit", "--quiet", "--message=A first function")
    return path


def register() -> Application:
    """Ensure the sample is registered; its first sync starts as soon as it is."""
    application = (
        Application.objects.present().filter(namespace=NAMESPACE, name=NAME).first()
    )
    if application is None:
        application = Application.objects.create(
            namespace=NAMESPACE, name=NAME, repo_url=f"file://{repository()}"
        )
        pipeline.request_sync(application, Sync.Trigger.COMMAND)
    return application


def _git(path: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(path), *arguments], check=True)
