"""Files in containers, and images and volumes made of them, through the Engine's API.

Plain values in, our errors out, no ORM.
"""

from __future__ import annotations

import re
import tarfile
import time
from contextlib import ExitStack, closing
from typing import Any

import docker
from docker.utils import decode_json_header
from docker.utils.socket import frames_iter

from runtime.engine_client import QUICK, client, our_errors, socket_of
from runtime.facts import File

# Of a file's mode, as the engine says it (Go's os.FileMode).
_IS_DIRECTORY, _IS_LINK = 1 << 31, 1 << 27
_NO_FILE = re.compile("not a directory|too many levels of symbolic links")
_HEAD = 4096
_frames: Any = frames_iter  # the SDK does not annotate it


def put_archive(container: str, place: str, data: bytes) -> None:
    """Unpack a tar in a container."""
    with our_errors():
        client(QUICK * 3).put_archive(container, place, data)


def archive_of(container: str, path: str) -> bytes | None:
    """A tar with a container's file; None where there is none."""
    with our_errors():
        try:
            chunks, _ = client(QUICK * 3).get_archive(container, path)
        except docker.errors.NotFound:
            return None
        return b"".join(chunks)


def head_of(container: str, path: str) -> File | None:
    """A file of a container, with its first bytes; None where there is none."""
    api: Any = client(QUICK * 3)
    with our_errors():
        place = api._url("/containers/{0}/archive", container)
        try:
            answer = api._get(place, params={"path": path}, stream=True)
            api._raise_for_status(answer)
        except docker.errors.APIError as error:
            if error.status_code == 404 or _NO_FILE.search(str(error.explanation)):
                return None
            raise
        # Closed before its end: a program may be large, a directory has no end.
        with closing(answer):
            about = decode_json_header(answer.headers["x-docker-container-path-stat"])
            if about["mode"] & _IS_LINK:  # followed within the container
                target = about["linkTarget"]
                return head_of(container, target) if target != path else None
            is_directory = bool(about["mode"] & _IS_DIRECTORY)
            head = b"" if is_directory else _first_bytes(answer.raw)
    return File(about["mode"] & 0o777, is_directory, head)


def _first_bytes(answer: Any) -> bytes:
    answer.decode_content = True
    with tarfile.open(fileobj=answer, mode="r|") as tar:
        member = tar.next()
        content = tar.extractfile(member) if member is not None else None
        return content.read(_HEAD) if content is not None else b""


def read_inside(container: str, command: list[str], seconds: int, most: int) -> bytes:
    """What a command prints that is run in a container, up to about `most` bytes."""
    api: Any = client(seconds)
    until = time.monotonic() + seconds
    said = b""
    with our_errors(), ExitStack() as streams:
        made = api.exec_create(container, command, stderr=False)["Id"]
        stream = socket_of(api.exec_start(made, socket=True), streams)
        for _, piece in _frames(stream, tty=False):
            said += piece
            if len(said) > most or time.monotonic() > until:
                break
    return said


def import_image(repository: str, tag: str, data: bytes, changes: list[str]) -> str:
    """The id of an image whose files are those of a tar; made where it is missing."""
    api: Any = client(QUICK * 3)
    reference = f"{repository}:{tag}"
    with our_errors():
        try:
            return str(api.inspect_image(reference)["Id"])
        except docker.errors.ImageNotFound:
            api.import_image_from_data(
                data, repository=repository, tag=tag, changes=changes
            )
        return str(api.inspect_image(reference)["Id"])


def remove_volumes(installation: str) -> None:
    """Remove the volumes of an installation; one that is in use stays."""
    prefix = f"zerverless-{installation}-"
    with our_errors():
        found = client(QUICK).volumes(filters={"name": prefix})["Volumes"] or []
        for name in (str(row["Name"]) for row in found):
            try:
                if name.startswith(prefix):
                    client(QUICK).remove_volume(name)
            except docker.errors.APIError as error:
                if error.status_code not in {404, 409}:
                    raise
