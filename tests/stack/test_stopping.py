"""Ctrl-C ends everything that `serve` started, function containers included."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

from tests.fixtures.git import GitServer
from tests.fixtures.stack import ROOT, Stack

MANAGE = ROOT / "manage.py"
FILES = {
    "zerverless.yaml": """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: sleeper, namespace: team}
spec:
  functions:
    - {path: /sleep, runtime: docker, context: ., dockerfile: Dockerfile}
""",
    "Dockerfile": 'FROM busybox\nCMD ["sleep", "25"]\n',
}


def containers(stack: Stack) -> list[str]:
    """Every container of this installation, running or not."""
    filters = f"name=zerverless-{stack.installation}-"
    listing = ["docker", "ps", "--all", "--quiet", "--filter", filters]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_port_that_is_taken_is_said_at_once(stack: Stack, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {
            "ZERVERLESS_PORT": str(port),
            "ZERVERLESS_DATA_DIR": str(tmp_path),
        }
        second = subprocess.run(
            [sys.executable, MANAGE, "serve"],
            env={**stack.env, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert second.returncode == 2
    reason = f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert reason in second.stderr


def test_a_command_beside_it_needs_no_environment_repeated(stack: Stack) -> None:
    """`file:` is not among the default protocols: the command knows what runs."""
    repo = "--repo=file:///nowhere/beside.git"
    done = subprocess.run(
        [sys.executable, MANAGE, "add_application", "--namespace=beside", repo],
        env={"ZERVERLESS_DATA_DIR": str(stack.data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "beside/beside\n"), done.stderr
    assert "beside/beside" in stack.shell(APPLICATIONS)


APPLICATIONS = """
from applications.models import Application
print(*Application.objects.all())
"""


def test_ctrl_c_leaves_nothing_behind(stack: Stack, git_server: GitServer) -> None:
    """Threat 103 in part: with a request in flight, and within its grace."""
    repo = git_server.make("sleeper", FILES)
    assert stack.add("team", "sleeper", repo.url)["state"] == "succeeded", stack.log()
    caller = threading.Thread(target=stack.try_get, args=["/team/sleep"])
    caller.start()
    stack.until(lambda: containers(stack), 30)
    everyone = [pid for name in stack.PROGRAMS for pid in stack.group(name)]
    assert len(everyone) > 8
    assert stack.process is not None
    stack.stop()
    caller.join(10)
    assert stack.process.returncode == 0
    assert [pid for pid in everyone if Path(f"/proc/{pid}").exists()] == []
    assert containers(stack) == []
    filters = f"name={stack.installation}"
    listing = ["docker", "volume", "ls", "--quiet", "--filter", filters]
    assert subprocess.run(listing, capture_output=True, check=True).stdout == b""
