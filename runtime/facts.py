"""What the engine says about images and containers, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Image:
    """An image, as far as running it depends on it."""

    id: str
    volumes: tuple[str, ...]
    user: str
    workdir: str
    command: tuple[str, ...]  # ENTRYPOINT and CMD together
    env: tuple[str, ...]
    labels: tuple[str, ...]
    architecture: str = ""  # as Docker calls it: amd64


@dataclass(frozen=True)
class File:
    """A file or directory in an image, links followed; `head` is its beginning."""

    mode: int  # its permissions
    is_directory: bool
    head: bytes = b""


@dataclass(frozen=True)
class Container:
    """A container of ours. `owner` is the gateway in its name, `created` Unix time."""

    id: str
    name: str
    owner: str
    image_id: str
    created: int
    state: str


@dataclass(frozen=True)
class State:
    """How a container that stays is."""

    has_ended: bool  # it ran, and does not any more
    exit_code: int
    address: str  # on the network it is in, if that is a bridge
