"""docker-compose.yml as an operator uses it: brought up for real, taken down again."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from builds import client
from tests.fixtures.stack import free_port, request

ROOT = Path(__file__).parent.parent.parent
PLATFORM = ("gateway", "web", "worker")
OVERRIDES = ("socket", "postgres", "unprivileged")
ENGINE = ("docker", "-H", "unix:///run/engine/docker.sock")
BUILD_SECONDS = 300
UP_SECONDS = 120
SECONDS = 60
OTHER_CONTAINER_SECONDS = 5


def run(*command: str, timeout: float = SECONDS, **options: Any) -> str:
    """A command that has to succeed within `timeout`; its standard output."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def compose_command() -> list[str]:
    """Compose v2 where there is one, else docker-compose 1.29."""
    plugin = subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    )
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


def files(*overrides: str) -> list[str]:
    names = ["docker-compose.yml", *(f"docker-compose.{o}.yml" for o in overrides)]
    return [argument for name in names for argument in ("-f", name)]


def config(*overrides: str, **environment: str) -> dict[str, Any]:
    """What Compose makes of the files, as an operator without a .env gets it."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith("ZERVERLESS_")}
    output = run(
        *compose_command(),
        *files(*overrides),
        "config",
        cwd=ROOT,
        env={**bare, "DOCKER_GID": "999", **environment},
    )
    parsed: dict[str, Any] = yaml.safe_load(output)
    return parsed


@dataclass
class Installation:
    """One `docker compose up` of its own: project, images, port and volumes."""

    project: str
    port: int
    overrides: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, timeout: float = SECONDS) -> str:
        found = client.find()
        assert found is not None
        return run(
            *compose_command(),
            *files(*self.overrides),
            *arguments,
            timeout=timeout,
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if "ZERVERLESS" not in k},
                # docker-compose 1.29 builds with the first docker on the PATH.
                "PATH": f"{Path(found.path).parent}:{os.environ['PATH']}",
                "COMPOSE_DOCKER_CLI_BUILD": "1",
                "DOCKER_BUILDKIT": "1",
                "COMPOSE_PROJECT_NAME": self.project,
                "ZERVERLESS_IMAGE": self.project,
                "ZERVERLESS_PORT": str(self.port),
                "ZERVERLESS_GIT_PROTOCOLS": "https,file",
                "ZERVERLESS_BUILD_MEMORY": "512Mi",
            },
        )

    def inside(
        self, service: str, *command: str, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """A command in one service's container, whatever it answers."""
        return subprocess.run(
            ["docker", "exec", f"{self.container(service)}", *command],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def function_container(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A container beside the functions, with the network that builds have.

        A second time where `docker run` does not return: Docker 20.10, busy and just
        killed, was seen to miss the end of a container that lives for seconds.
        """
        bounded = ("timeout", str(OTHER_CONTAINER_SECONDS), *command)
        run = (*ENGINE, "run", "--rm", "busybox", *bounded)
        try:
            return self.inside("docker", *run, seconds=SECONDS / 2)
        except subprocess.TimeoutExpired:
            return self.inside("docker", *run)

    def address(self, service: str) -> str:
        inspected = json.loads(run("docker", "inspect", self.container(service)))
        networks = inspected[0]["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])


def needs_override() -> tuple[str, ...]:
    """Not every machine grants --privileged; the documented override is for those."""
    probe = subprocess.run(
        ["docker", "run", "--rm", "--privileged", "--network=none", "busybox", "true"],
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return () if probe.returncode == 0 else ("unprivileged",)


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """The platform, up and healthy, with the base image of the sample in its engine."""
    here = Installation(f"zvtest{secrets.token_hex(4)}", free_port(), needs_override())
    try:
        here.compose("build", timeout=BUILD_SECONDS)
        here.compose("up", "-d", timeout=UP_SECONDS)
        _copy_image("busybox", here.container("docker"))
        # Docker's proxy accepts, and resets, before the gateway listens.
        until("the platform answers", lambda: answers(f"{here.url}/-/login"))
        yield here
    finally:
        here.compose("down", "--volumes", "--timeout", "20", timeout=UP_SECONDS)
        images = (here.project, f"{here.project}-engine")
        subprocess.run(["docker", "rmi", *images], capture_output=True, check=False)


def _copy_image(name: str, container: str) -> None:
    with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as save:
        run("docker", "exec", "-i", container, *ENGINE, "load", stdin=save.stdout)


def until(what: str, true: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def answers(url: str) -> bool:
    """Whether it does; while the gateway starts, connections break."""
    try:
        return request(url).status == 200
    except OSError:
        return False


def test_sample_is_built_and_served_by_the_engine_inside(
    installation: Installation,
) -> None:
    register = "from zerverless_site import sample; sample.register()"
    done = installation.inside("worker", "python", "manage.py", "shell", "-c", register)
    assert done.returncode == 0, done.stderr
    url = f"{installation.url}/demo/hello"

    until("the sample answers", lambda: answers(url))

    answer = request(f"{url}?name=compose")
    assert "Hello" in answer.text
    assert "X-Zerverless-Error" not in answer.headers
    ids = ("images", "--quiet", "--no-trunc")
    built = installation.inside("docker", *ENGINE, *ids, "zerverless/demo/hello").stdout
    assert built.startswith("sha256:")
    assert built.strip() not in run("docker", *ids)


SERVER = """
mkdir /data/server && cd /data/server && git init -q -b main
cat >zerverless.yaml <<'YAML'
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: server, namespace: demo}
spec:
  source: {repoURL: file:///data/server, branch: main}
  functions:
    - {path: /server, runtime: docker, dockerfile: ./Dockerfile, context: ., port: 8080}
    - {path: /out, runtime: docker, dockerfile: ./Out, context: ., port: 8080,
       network: egress}
YAML
cat >Dockerfile <<'DOCKERFILE'
FROM busybox
COPY index.html /www/
CMD exec httpd -f -p $PORT -h /www
DOCKERFILE
cat >Out <<DOCKERFILE
FROM busybox
CMD nslookup docker.$NETWORK >/tmp/index.html; exec httpd -f -p \\$PORT -h /tmp
DOCKERFILE
echo served >index.html
git add . && git -c user.name=x -c user.email=x@localhost commit -q -m server
cd /app
python manage.py add_application --namespace demo --repo file://$OLDPWD --sync
"""


@pytest.fixture(scope="module")
def servers(installation: Installation) -> None:
    """Two server functions, /demo/server and, with a way out, /demo/out."""
    network = f"NETWORK={installation.project}_engine"
    done = installation.inside("worker", "env", network, "sh", "-ec", SERVER)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("servers")
def test_server_function_is_reached_through_its_sandbox(
    installation: Installation,
) -> None:
    """Through a socket in the one directory that both engine and platform see."""
    url = f"{installation.url}/demo/server"

    until("the server answers", lambda: answers(url))

    assert request(url).text == "served\n"
    names = installation.inside("docker", *ENGINE, "ps", "--format={{.Names}}").stdout
    found = [name for name in names.split() if "-server" in name]
    mode = ("inspect", "-f", "{{.HostConfig.NetworkMode}}", *found)
    networks = installation.inside("docker", *ENGINE, *mode).stdout.split()
    assert networks
    assert all(network.startswith("container:") for network in networks)


@pytest.mark.usefixtures("servers")
def test_function_with_a_way_out_can_look_up_names(installation: Installation) -> None:
    """It asks Docker, which asks the relay on the bridge: no more is let out."""
    url = f"{installation.url}/demo/out"

    until("the server answers", lambda: answers(url))

    address = installation.inside("docker", "hostname", "-i").stdout.strip()
    assert address in request(url).text


def test_dashboard_is_reached_through_the_gateway(installation: Installation) -> None:
    assert request(f"{installation.url}/livez").text == "ok"
    assert "<form" in request(f"{installation.url}/-/login").text


def test_every_service_becomes_healthy(installation: Installation) -> None:
    for service in (*PLATFORM, "docker"):
        container = installation.container(service)
        inspect = ("docker", "inspect", "-f", "{{.State.Health.Status}}", container)
        until(
            f"{service} is healthy",
            lambda inspect=inspect: run(*inspect).strip() == "healthy",
        )


def test_platform_runs_as_nobody_special_on_a_read_only_root(
    installation: Installation,
) -> None:
    for service in PLATFORM:
        script = "id -u; grep CapEff /proc/self/status; touch /app/x || echo refused"
        done = installation.inside(service, "sh", "-c", script)
        user, capabilities, refused = done.stdout.split("\n", 2)
        assert user == "10001"
        assert capabilities.split()[1].strip("0") == ""
        assert refused.strip() == "refused"


def test_engine_listens_on_its_unix_socket_only(installation: Installation) -> None:
    """Over TCP, every RUN in a Dockerfile would be root on the engine (threat 37)."""
    listening = installation.inside("docker", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    rows = [line.split() for line in listening.stdout.splitlines() if ":" in line]
    ports = {int(row[1].rsplit(":", 1)[1], 16) for row in rows if row[3] == "0A"}
    names = {address for row in rows if (address := row[1].rsplit(":", 1)[0])}
    assert names
    assert ports.isdisjoint({2375, 2376, 4243})

    for port in (2375, 2376):
        url = f"http://172.17.0.1:{port}/version"
        refused = installation.function_container("wget", "-q", "-O-", url)
        assert refused.returncode != 0
        assert "ApiVersion" not in refused.stdout


def test_builds_and_functions_do_not_reach_the_platform(
    installation: Installation,
) -> None:
    """Threat 38."""
    for service in PLATFORM:
        url = f"http://{installation.address(service)}:{installation.port}/livez"
        reached = installation.function_container("wget", "-q", "-O-", url)
        assert reached.returncode != 0
        assert reached.stdout == ""


def test_build_that_takes_all_memory_is_killed_and_nothing_else(
    installation: Installation,
) -> None:
    """BuildKit ignores --memory; the engine's image sets the limit above it."""
    script = """
    mkdir /tmp/bomb && cd /tmp/bomb
    printf 'FROM busybox\\nRUN dd if=/dev/zero of=/dev/null bs=1G\\n' >Dockerfile
    DOCKER_BUILDKIT=1 docker -H unix:///run/engine/docker.sock build . 2>&1
    """
    done = installation.inside("docker", "sh", "-c", script)

    assert done.returncode == 1
    assert "exit code: 137" in done.stdout
    assert installation.inside("docker", *ENGINE, "version").returncode == 0


def test_engine_killed_comes_back_with_its_images(installation: Installation) -> None:
    kill = "kill -9 $(cat /var/run/docker.pid)"
    installation.inside("docker", "sh", "-c", kill)

    def answers() -> bool:
        return installation.inside("docker", *ENGINE, "version").returncode == 0

    until("the engine answers again", answers)
    images = installation.inside(
        "docker", *ENGINE, "images", "--format={{.Repository}}"
    )
    assert "busybox" in images.stdout


@pytest.mark.parametrize("override", ["", *OVERRIDES])
def test_configuration_gives_nothing_away(override: str) -> None:
    overrides = (override,) if override else ()
    services = config(*overrides, ZERVERLESS_POSTGRES_PASSWORD="chosen")["services"]

    privileged = [name for name, s in services.items() if s.get("privileged")]
    assert privileged in ([], ["docker"])
    published = {name: s["ports"] for name, s in services.items() if s.get("ports")}
    assert list(published) == ["gateway"]
    assert "127.0.0.1" in str(published)
    for name, service in services.items():
        assert "2375" not in str(service), name
        assert "2376" not in str(service), name
    apart = set(services["docker"]["networks"])
    for name in set(services) - {"docker"}:
        assert apart.isdisjoint(services[name]["networks"])


def test_no_password_has_a_default() -> None:
    for override in ("socket", "postgres"):
        done = subprocess.run(
            [*compose_command(), *files(override), "config"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode != 0
        assert f"docker-compose.{override}.yml" in done.stderr
