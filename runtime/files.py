"""Files we put beside a function, and files we take out of an image."""

from __future__ import annotations

import io
import tarfile

from builds.volumes import clean
from runtime import engine, engine_files
from runtime.errors import ImageMissing

_PLACE = "/files"


def fill_volume(name: str, helper: str, image_id: str, files: dict[str, bytes]) -> None:
    """Ensure the volume `name` holds `files`, executable, through a container that is
    never started: `helper` is its name, `image_id` any image there is.

    The last file is written last and read first, so a volume half filled by a killed
    process is filled again.
    """
    config = {
        "Image": image_id,
        "Cmd": ["none"],
        "HostConfig": {
            "Binds": [f"{name}:{_PLACE}"],
            "NetworkMode": "none",
            # Or what the image has at its volumes would be copied to disk.
            "Tmpfs": dict.fromkeys(map(clean, engine.image(image_id).volumes), ""),
        },
    }
    engine.create(helper, config)
    try:
        if engine_files.archive_of(helper, f"{_PLACE}/{list(files)[-1]}") is None:
            for file, data in files.items():
                engine_files.put_archive(helper, _PLACE, archive(file, data))
    finally:
        engine.remove(helper)


def file_of_image(reference: str, helper: str, path: str) -> bytes | None:
    """One file of a local image, without running it; None where there is none."""
    try:
        engine.create(helper, {"Image": reference, "Cmd": ["none"]})
    except ImageMissing:
        return None
    try:
        data = engine_files.archive_of(helper, path)
    finally:
        engine.remove(helper)
    return None if data is None else first_of(data)


def archive(name: str, data: bytes) -> bytes:
    """A tar with one executable file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o755
        tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def first_of(data: bytes) -> bytes | None:
    """The first file in a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = next((m for m in tar if m.isreg()), None)
        stream = tar.extractfile(member) if member else None
        return stream.read() if stream else None
