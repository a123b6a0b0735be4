"""A running installation of its own, driven as its users drive it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from applications.models import Application, Sync
from builds.models import Build
from runtime.models import Deployment
from tests.fixtures.stack import Stack, free_port
from zerverless_site import pipeline

NAMESPACE = "bench"
PATIENCE = 300.0
MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {{name: {name}, namespace: bench}}
spec:
  functions:
    - {{path: /{name}, runtime: docker, context: ., dockerfile: Dockerfile}}
"""
_IDENTITY = ("-c", "user.name=Bench", "-c", "user.email=bench@localhost")


class Platform:
    """The platform under measurement. This process has its settings and database."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.stack = Stack(data_dir, port)

    def start(self) -> None:
        self.stack.start()

    def stop(self) -> None:
        """End it and remove the images it built."""
        tags = Build.objects.exclude(image_tag="").values_list("image_tag", flat=True)
        self.stack.stop()
        command = ["docker", "rmi", "--force", "zerverless-bench", *tags]
        subprocess.run(command, check=False, capture_output=True)

    def fresh_start(self) -> float:
        """Seconds from `serve` on nothing to the sample's first answer."""
        data_dir = Path(tempfile.mkdtemp(prefix="z"))
        stack = Stack(data_dir, free_port(), {"ZERVERLESS_SAMPLE": "on"})
        began = time.perf_counter()
        try:
            stack.start()
            stack.until(lambda: stack.get("/demo/hello").status == 200, PATIENCE)
            return time.perf_counter() - began
        finally:
            stack.stop()
            shutil.rmtree(data_dir)

    def get(self, path: str) -> str:
        """The body of an answer that has to be 200."""
        reply = self.stack.get(path)
        if reply.status != 200:
            raise RuntimeError(f"{path} answered {reply.status}: {reply.text}")
        return reply.text

    def deploy(self, name: str, files: dict[str, str]) -> str:
        """Have a function of these files live; its path."""
        self._commit(name, files)
        url = f"file://{self._repository(name)}"
        self._sync(
            Application.objects.create(namespace=NAMESPACE, name=name, repo_url=url)
        )
        path = f"/{NAMESPACE}/{name}"
        self.stack.until(lambda: self.stack.get(path).status != 404, PATIENCE)
        return path

    def image_of(self, path: str) -> str:
        """The id of the image that serves a path."""
        functions = Deployment.objects.live().select_related("function")
        return next(d.image_id for d in functions if d.function.url_path == path)

    def build_seconds(self, name: str, files: dict[str, str]) -> float:
        """Push, and how long the build itself took: claimed to finished."""
        self._commit(name, files)
        build = self._sync(Application.objects.get(name=name))
        duration = build.duration
        assert duration is not None
        return duration.total_seconds()

    def push_until_live(self, name: str, path: str, text: str) -> float:
        """Push a new version and wait for its first answer, seconds."""
        dockerfile = f'FROM busybox\nCMD ["echo", "{text}"]\n'
        self._commit(name, {"Dockerfile": dockerfile})
        began = time.perf_counter()
        application = Application.objects.get(name=name)
        pipeline.request_sync(application, Sync.Trigger.MANUAL)
        self.stack.until(lambda: self.get(path) == f"{text}\n", PATIENCE)
        return time.perf_counter() - began

    def memory(self) -> float:
        """MiB of proportional set size, after half a minute of rest."""
        time.sleep(30)
        pids = [pid for name in Stack.PROGRAMS for pid in self.stack.group(name)]
        assert self.stack.process is not None
        return sum(_pss(pid) for pid in [*pids, self.stack.process.pid]) / 1024

    def _sync(self, application: Application) -> Build:
        sync = pipeline.request_sync(application, Sync.Trigger.MANUAL)
        self.stack.until(
            lambda: sync.builds.filter(finished_at__isnull=False), PATIENCE
        )
        return Build.objects.get(sync=sync)

    def _repository(self, name: str) -> Path:
        return self.stack.data_dir / "repositories" / name

    def _commit(self, name: str, files: dict[str, str]) -> None:
        path = self._repository(name)
        if not path.exists():
            path.mkdir(parents=True)
            _git(path, "init", "--quiet", "--initial-branch=main")
        for file, text in {
            "zerverless.yaml": MANIFEST.format(name=name),
            **files,
        }.items():
            (path / file).parent.mkdir(exist_ok=True)
            (path / file).write_text(text)
        _git(path, "add", "--all")
        _git(path, *_IDENTITY, "commit", "--quiet", "--message=bench")


def _git(path: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(path), *arguments], check=True)


def _pss(pid: int) -> float:
    """KiB, from the kernel's own sum (proc(5): smaps_rollup)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return float(next(x.split()[1] for x in text.splitlines() if x.startswith("Pss:")))
