"""A running installation of its own, driven as its users drive it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.client import until
from benchmarks.dashboard import Dashboard
from tests.fixtures.stack import Stack, free_port

NAMESPACE = "bench"
PATIENCE = 300.0
MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {{name: {name}, namespace: bench}}
spec:
  functions:
"""
FUNCTION = "    - {{path: {path}, runtime: docker, context: .{keys}}}\n"
_IDENTITY = ("-c", "user.name=Bench", "-c", "user.email=bench@localhost")

Files = dict[str, str | bytes]


@dataclass(frozen=True)
class Deployed:
    """A live function: its path (the common part of copies') and its image's id."""

    path: str
    image: str


class Platform:
    """The platform under measurement, with its default settings and `environment`."""

    def __init__(self, **environment: str) -> None:
        # Unix socket paths are short.
        self.data_dir = Path(tempfile.mkdtemp(prefix="z"))
        self.stack = Stack(self.data_dir, free_port(), environment)
        self.stack.start()

    def stop(self) -> None:
        """End it and remove the images it built."""
        self.stack.stop()
        self.stack.remove_images()
        shutil.rmtree(self.data_dir)

    @cached_property
    def dashboard(self) -> Dashboard:
        return Dashboard(self.stack.url, self.stack.admin_password)

    def url(self, path: str) -> str:
        """Where a path answers."""
        return self.stack.url + path

    def get(self, path: str) -> str:
        """The body of an answer that has to be 200."""
        reply = self.stack.get(path)
        if reply.status != 200:
            raise RuntimeError(f"{path} answered {reply.status}: {reply.text}")
        return reply.text

    def deploy(
        self, name: str, files: Files, keys: str = "", copies: int = 1
    ) -> Deployed:
        """Have a function of these files live.

        `keys` are more of the manifest's, as `, cpu: 2`. With `copies` there are as
        many functions of the same image, at the path with /0, /1 … behind it.
        """
        self.commit(name, files, keys, copies)
        repository = f"file://{self._repository(name)}"
        result = self.stack.add(NAMESPACE, name, repository)
        if len(result["live"]) != copies:
            raise RuntimeError(f"{name} is not live: {result}\n{self.stack.log()}")
        return Deployed(f"/{NAMESPACE}/{name}", result["live"][0]["image_id"])

    def build_seconds(self, name: str, files: Files) -> float:
        """Push, and how long the build itself took: claimed to finished."""
        self.commit(name, files)
        self.stack.sync(f"{NAMESPACE}/{name}")
        return float(
            self.stack.shell(
                "from builds.models import Build\n"
                f"builds = Build.objects.filter(function__path='/{name}')\n"
                "print(builds.latest('finished_at').duration.total_seconds())"
            )
        )

    def push_until_live(self, name: str, files: Files, answer: str) -> float:
        """Push a new version, press Sync now, wait for its first answer: seconds."""
        self.commit(name, files)
        began = time.perf_counter()
        self.dashboard.sync(f"{NAMESPACE}/{name}")
        until(lambda: self.get(f"/{NAMESPACE}/{name}") == answer, PATIENCE)
        return time.perf_counter() - began

    def commit(self, name: str, files: Files, keys: str = "", copies: int = 1) -> None:
        """Commit these files and a manifest to the application's repository."""
        folder = self._repository(name)
        if not folder.exists():
            folder.mkdir(parents=True)
            _git(folder, "init", "--quiet", "--initial-branch=main")
        paths = [f"/{name}"] if copies == 1 else [f"/{name}/{n}" for n in range(copies)]
        rows = [FUNCTION.format(path=path, keys=keys) for path in paths]
        manifest = MANIFEST.format(name=name) + "".join(rows)
        for file, content in {"zerverless.yaml": manifest, **files}.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
            if data.startswith(b"\x7fELF"):
                (folder / file).chmod(0o755)
        _git(folder, "add", "--all")
        _git(folder, *_IDENTITY, "commit", "--quiet", "--message=bench")

    def pids(self) -> list[int]:
        """Every process of the platform."""
        assert self.stack.process is not None
        groups = (self.stack.group(name) for name in Stack.PROGRAMS)
        return [self.stack.process.pid, *(pid for group in groups for pid in group)]

    def gateway(self) -> int:
        """The gateway's process id."""
        return self.stack.group("gateway")[0]

    def _repository(self, name: str) -> Path:
        return self.data_dir / "repositories" / name


def _git(path: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(path), *arguments], check=True)
