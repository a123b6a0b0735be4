"""AWS SAM CLI from PyPI, on the same machine, with a Python function of its own kind.

It is installed into a virtual environment of its own, below ~/.cache. Its image is made
from the local python:3.11-slim and Amazon's runtime client, so no registry is asked.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import KEYS, Bench, build_image, run
from benchmarks.client import Client, answers, until
from benchmarks.cold import PYTHON as SERVER
from benchmarks.measure import Figure, alternate, milliseconds
from benchmarks.oneshot import PYTHON, until_primed
from benchmarks.warm import checked
from benchmarks.wrk import wrk
from tests.fixtures.stack import free_port

CACHE = Path.home() / ".cache" / "zerverless-bench" / "sam"
RUNTIME = CACHE.parent / "sam-runtime"
VERSION = "1.170.0"
IMAGE = "zerverless-bench-sam"
FILES = {
    "Dockerfile": "FROM python:3.11-slim\nCOPY function /function\nWORKDIR /function\n"
    'ENTRYPOINT ["python3", "-m", "awslambdaric"]\nCMD ["app.handle"]\n',
    "function/app.py": "def handle(event, context):\n"
    '    return {"statusCode": 200, "body": \'{"msg":"hello"}\'}\n',
    "template.yaml": f"""\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      ImageUri: {IMAGE}:latest
      Timeout: 30
      MemorySize: 256
      Events:
        Get: {{Type: Api, Properties: {{Path: /hello, Method: get}}}}
""",
}


def once(bench: Bench) -> Iterator[Figure]:
    """A container for each request, which is what SAM does by default."""
    function = bench.platform.deploy("beside-sam", PYTHON)
    bench.platform.get(function.path)
    until_primed(bench.platform, function.path)
    with _sam() as url:
        ours, reference = alternate(
            bench.runs,
            lambda: milliseconds(lambda: bench.platform.get(function.path)),
            lambda: milliseconds(Client(url).get),
            0.5,
        )
    about = f"one request, one python container; AWS SAM CLI {VERSION}, start-api"
    yield Figure("sam_oneshot", "ms", about, ours, reference)


def warm(bench: Bench) -> Iterator[Figure]:
    """A container that stays, SAM's EAGER."""
    function = bench.platform.deploy("warm-beside-sam", SERVER, KEYS)
    path = bench.platform.url(function.path)
    with _sam("--warm-containers", "EAGER") as url:
        ours, reference = alternate(
            min(bench.runs, 5),
            lambda: checked(wrk(path, 8)).rps,
            lambda: checked(wrk(url, 8)).rps,
        )
    about = (
        "warm python function, requests a second at 8 connections; "
        f"AWS SAM CLI {VERSION}, start-api --warm-containers EAGER"
    )
    yield Figure("sam_warm", "/s", about, ours, reference)


@contextmanager
def _sam(*options: str) -> Iterator[str]:
    """`sam local start-api` while the block runs; the URL of its function."""
    folder = Path(tempfile.mkdtemp(prefix="zs"))
    port = free_port()
    command = [str(_installed("sam")), "local", "start-api", "--skip-pull-image"]
    command += [f"--port={port}", f"--template={folder}/template.yaml", *options]
    try:
        _build(folder)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_hear_interrupts,
            )
        url = f"http://127.0.0.1:{port}/hello"
        try:
            until(lambda: answers(url), 120, every=0.5)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder)
        tags = [f"{IMAGE}:latest", f"{IMAGE}:rapid-x86_64"]
        subprocess.run(["docker", "rmi", "--force", *tags], capture_output=True)


def _hear_interrupts() -> None:
    """A shell has its background jobs ignore them, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _build(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if not RUNTIME.exists():
        pip = [str(_installed("pip")), "install", "--quiet", f"--target={RUNTIME}"]
        run([*pip, "awslambdaric==4.2.2"])
    shutil.copytree(RUNTIME, folder / "function", dirs_exist_ok=True)
    build_image(folder, IMAGE)


def _installed(program: str) -> Path:
    """A program of SAM's environment; made when it is first needed."""
    if not (CACHE / "bin" / "sam").exists():
        run([sys.executable, "-m", "venv", "--clear", str(CACHE)])
        pip = [str(CACHE / "bin" / "pip"), "install", "--quiet"]
        run([*pip, f"aws-sam-cli=={VERSION}"])
    return CACHE / "bin" / program
