"""Makes and keeps images through Docker; the only place in builds that does.

Plain values in, our errors out, no ORM. Images are built by the docker command line,
because BuildKit is not in the SDK and Dockerfiles need it. Where no such client is
found the SDK's classic builder does what it can: in a process of its own (`python -m
builds.engine`), because only closing its connection makes the daemon stop.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import docker
import requests
from django.conf import settings
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env

from builds import client, failure, limits, logins, policy, process
from builds.client import ImageRequest, Login
from builds.engine_client import api_client
from builds.errors import BuildCancelled, BuildEngineError, BuildError

_BUILD_LAST_WORDS = 400  # lines kept to explain a failure
_CONFLICT = 409
_HEREDOCS_FROM = 23  # the engine's version


@dataclass(frozen=True)
class ImageInfo:
    """What the daemon says about an image; `config` in Docker's own words."""

    id: str
    size: int
    config: Mapping[str, Any]
    os: str = "linux"
    architecture: str = ""
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()  # its names at registries, if it came from one


BuiltImage = ImageInfo


def available() -> None:
    """Raise BuildError when building is switched off, BuildEngineError without Docker.

    The message says what to do.
    """
    if not settings.DOCKER_ENABLED:
        raise BuildError(
            "DOCKER_ENABLED is off, so nothing is built. Switch it on and sync again.",
            "build:disabled",
        )
    with api_client() as api:
        api.ping()


def builder() -> str:
    """Which builder builds will use, in words."""
    binary = client.find()
    if binary is None:
        return "the classic builder: no docker client here can use BuildKit"
    return f"BuildKit through {binary.path} ({binary.version})"


def build(
    request: ImageRequest,
    context: BinaryIO,
    on_line: Callable[[str], None],
    stop: Callable[[], bool],
    known: Sequence[Login] = (),
) -> BuiltImage:
    """Make the image from a tar and tag it; `context` must be a real file.

    `on_line` gets every line as it is printed; `stop` is asked several times a second
    and ends the daemon's work too; `known` are its logins at registries. Raises
    BuildCancelled, BuildError (theirs, with the step) or BuildEngineError (ours).
    """
    available()
    last: deque[str] = deque(maxlen=_BUILD_LAST_WORDS)

    def keep(line: str) -> None:
        line = logins.hide(line, known)  # a registry may repeat what it was sent
        last.append(line)
        on_line(line)

    with _endings(last, request.seconds), logins.environment(known) as env:
        code = _run(request, context, keep, stop, env)
    if code != 0:
        raise failure.explain(list(last), code)
    # The text of a build can say anything; the daemon says which image has our tag.
    built = image(request.tag)
    if built is None:
        raise BuildEngineError(f"Docker built {request.tag}, but does not have it.")
    return built


@contextmanager
def _endings(lines: Iterable[str], seconds: float) -> Iterator[None]:
    """What ends a process early, in the words of builds."""
    try:
        yield
    except process.Stopped:
        raise BuildCancelled("The build was cancelled.") from None
    except process.TimedOut:
        raise failure.timed_out(list(lines), seconds) from None


def _run(
    request: ImageRequest,
    context: BinaryIO,
    on_line: Callable[[str], None],
    stop: Callable[[], bool],
    env: dict[str, str],
) -> int:
    binary = client.find()
    if binary is not None:
        on_line(limits.sentence())
        with policy.file(request.own) as name:
            env[policy.VARIABLE] = name
            argv = client.command(binary, request)
            return process.run(argv, env, context, on_line, stop, request.seconds)
    on_line(
        "No docker client with BuildKit was found (install docker-buildx, or the "
        "Docker client 20.10 to 22): building with the classic builder, which "
        "knows no cache mounts, no heredocs and no BUILDPLATFORM."
    )
    argv = _own_command(_classic_order(request))
    return process.run(argv, _own(env), context, on_line, stop, request.seconds)


def heredocs() -> bool:
    """Whether the frontend built into this engine knows heredocs."""
    with api_client() as api:
        version = str(api.version(api_version=False)["Version"])
    return int(re.split(r"[^0-9]", version)[0] or 0) >= _HEREDOCS_FROM


def parent(
    reference: str,
    stop: Callable[[], bool],
    seconds: float,
    known: Sequence[Login] = (),
    *,
    afresh: bool = False,
) -> ImageInfo:
    """The image of a full name, as a build on it will find it; fetched if not there,
    and `afresh` if it is.

    Raises BuildCancelled, BuildError (theirs) or BuildEngineError (ours).
    """
    here = platform()
    found = image(reference)
    if afresh or found is None or (found.os, found.architecture) != here:
        _pull(reference, stop, seconds, known)
        found = image(reference)
    if found is None or (found.os, found.architecture) != here:
        raise BuildError(
            f"The parent image {reference} does not exist for {'/'.join(here)}.",
            "build:parent",
        )
    return found


def _pull(
    reference: str, stop: Callable[[], bool], seconds: float, known: Sequence[Login]
) -> None:
    lines: list[str] = []
    argv = _own_command({"pull": reference})
    with (
        tempfile.TemporaryFile() as nothing,
        _endings(lines, seconds),
        logins.environment(known) as env,
    ):
        code = process.run(argv, _own(env), nothing, lines.append, stop, seconds)
    lines = [logins.hide(line, known) for line in lines]
    if code != 0:
        raise failure.no_parent(reference, lines)


def _own_command(order: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "builds.engine", json.dumps(order)]


def _own(env: dict[str, str]) -> dict[str, str]:
    """For a process of this module: a worker may be anywhere."""
    return {**env, "PYTHONPATH": str(settings.BASE_DIR)}


def image(reference: str) -> ImageInfo | None:
    """The image of an id or tag, or None when the daemon has none."""
    with api_client() as api:
        try:
            found = api.inspect_image(reference)
        except (ImageNotFound, NotFound):
            return None
    return ImageInfo(
        id=found["Id"],
        size=found["Size"],
        config=found.get("Config") or {},
        os=found.get("Os", ""),
        architecture=found.get("Architecture", ""),
        tags=tuple(found.get("RepoTags") or ()),
        digests=tuple(found.get("RepoDigests") or ()),
    )


def ids() -> frozenset[str]:
    """The ids of all images the daemon has."""
    with api_client() as api:
        return frozenset(api.images(quiet=True))


def tags() -> dict[str, str]:
    """All tags the daemon knows, with the ids of their images."""
    with api_client() as api:
        found = api.images()
    return {tag: row["Id"] for row in found for tag in row.get("RepoTags") or ()}


def platform() -> tuple[str, str]:
    """The daemon's operating system and architecture, in an image's words."""
    with api_client() as api:
        version = api.version(api_version=False)
    return version["Os"], version["Arch"]


def tag(image_id: str, name: str) -> None:
    """Give an image one more tag; raises BuildEngineError when it is gone."""
    repository, _, version = name.rpartition(":")
    with api_client() as api:
        if not api.tag(image_id, repository, version):
            raise BuildEngineError(f"Docker did not tag {image_id} as {name}.")


def untag(name: str) -> None:
    """Take a tag off an image that has another one, so that the image stays."""
    with api_client() as api:
        try:
            api.remove_image(name, noprune=True)
        except (ImageNotFound, NotFound):
            return


def remove(name: str, image_id: str) -> int:
    """Take our tag off our image; the bytes freed when that was its last one.

    A tag that by now points to another image, and an image in use, are left alone.
    """
    at_tag, by_id = image(name) if name else None, image(image_id)
    if by_id is None:
        return 0
    with api_client() as api:
        try:
            if at_tag is not None and at_tag.id == image_id:
                api.remove_image(name)
            elif not by_id.tags:
                api.remove_image(image_id)
        except (ImageNotFound, NotFound):
            return 0
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
            return 0
    return by_id.size if image(image_id) is None else 0


def disk() -> Path | None:
    """Where the daemon keeps images, or None when that is on another machine."""
    with api_client() as api:
        root = Path(api.info().get("DockerRootDir") or "/nonexistent")
    local = settings.DOCKER_HOST.startswith("unix://")
    return root if local and root.is_dir() else None


def disk_free() -> int | None:
    """Bytes free where the daemon keeps images, or None when that cannot be seen."""
    root = disk()
    return shutil.disk_usage(root).free if root else None


# -- The classic builder, in a process of its own -------------------------------------


def _classic_order(request: ImageRequest) -> dict[str, Any]:
    return {
        "request": asdict(request),
        "memory": settings.ZERVERLESS_BUILD_MEMORY,
        "cpus": settings.ZERVERLESS_BUILD_CPU,
    }


def _do(order: dict[str, Any]) -> int:
    """Do as asked, print the log, answer with an exit code."""
    if "pull" in order:
        return _fetch(order["pull"])
    return _classic(order)


def _fetch(name: str) -> int:
    api = docker.APIClient(version="auto", **kwargs_from_env())
    repository, _, tag = name.rpartition("@" if "@" in name else ":")
    try:
        stream = api.pull(repository, tag, stream=True, decode=True)
        return max((_say(message) for message in stream), default=1)
    except APIError as error:
        return _say({"error": str(error.explanation)})


def _classic(wanted: dict[str, Any]) -> int:
    """Build from standard input as asked."""
    request = ImageRequest(**wanted["request"])
    with tempfile.TemporaryFile() as context:
        shutil.copyfileobj(sys.stdin.buffer, context)
        context.seek(0)
        api = docker.APIClient(version="auto", **kwargs_from_env())
        stream = api.build(
            fileobj=context,
            custom_context=True,
            decode=True,
            rm=True,
            forcerm=True,
            tag=request.tag,
            dockerfile=request.dockerfile,
            target=request.target or None,
            labels=dict(request.labels),
            timeout=int(request.seconds),
            container_limits={
                "memory": wanted["memory"],
                "memswap": wanted["memory"],
                "cpusetcpus": f"0-{max(wanted['cpus'], 1) - 1}",
            },
        )
        return max((_say(message) for message in stream), default=1)


def _say(message: Mapping[str, Any]) -> int:
    """Print one message of the daemon; 1 when it is the end of a failed build."""
    text = message.get("error") or message.get("stream") or ""
    sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")
    sys.stdout.flush()
    return 1 if "error" in message else 0


if __name__ == "__main__":
    try:
        raise SystemExit(_do(json.loads(sys.argv[1])))
    except (DockerException, requests.RequestException) as problem:
        raise SystemExit(f"{failure.DAEMON_LOST}: {problem}") from None
