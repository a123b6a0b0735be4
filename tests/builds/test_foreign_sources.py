"""What becomes of each Dockerfile of `attempts.py`, on the engine of the settings.

`make test-engines` runs the same on a newer one, within its network.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from builds import client, engine, images, policy, vetting
from builds.credentials import Access
from builds.errors import BuildEngineError, BuildError
from tests.builds.attempts import (
    DENIED,
    NOT_ALLOWED,
    NOT_KNOWN,
    NOTHING,
    PAGE,
    REFUSED,
    ROWS,
    UNKNOWN,
    Row,
    table,
)
from tests.builds.conftest import Maker
from tests.fixtures.docker import LABEL

# What the words of a row look like in the error.
SAID = {
    DENIED: re.escape(policy.DENIED),
    UNKNOWN: r"not found|cannot be had|cannot be reached|invalid repository name"
    r"|failed to do request|access denied|does not exist",
    NOT_KNOWN: r"(?i)unknown flag",
    NOT_ALLOWED: r"not allowed",
    "the engine does not understand it": r"unknown instruction",
    "the engine refuses it": r"source can't be a URL|can't be a URL for COPY|not found",
}


EMPTY = b"\0" * 10240  # a tar with nothing in it
# As if nobody had looked at them before the build.
UNSEEN = (
    "FROM index.docker.io/{victim}\nRUN cat /secret\n",
    "FROM busybox\nCOPY --from={victim} /secret /s\n",
    "FROM busybox\nRUN --mount=type=bind,from={victim},target=/m cat /m/secret\n",
    "FROM busybox\nRUN --mount=type=cache,from={victim},target=/m cat /m/secret\n",
    "FROM scratch\nADD {url} /x\n",
    "FROM scratch\nADD https://127.0.0.1/a.git#main /x\n",
    "FROM scratch\nADD git@127.0.0.1:a/b.git /x\n",
)


@dataclass
class Stranger:
    """Builds as an application of its own that knows all names the victim has."""

    make: Maker
    names: Mapping[str, str]
    own: tuple[str, ...]
    secret: str
    space: str = field(default_factory=lambda: secrets.token_hex(16))

    def outcome(self, dockerfile: str) -> str:
        """What becomes of it, in the words of the page where that is known."""
        text = dockerfile.format(**self.names)
        try:
            vetting.vet(
                text,
                "Dockerfile",
                self.own,
                Access(""),
                lambda: False,
                600,
                builtin=True,
            )
        except BuildError as error:
            has_place = re.match(r"Dockerfile:\d+(:\d+)?: ", error.message)
            return REFUSED if has_place else error.message
        except BuildEngineError as error:
            return error.message
        return self.built(text)

    def built(self, text: str) -> str:
        """What the engine alone makes of it."""
        try:
            self.make(text, {"secret": "mallory's own"}, cache=self.space, own=self.own)
        except (BuildError, BuildEngineError) as error:
            assert self.secret not in self.make.log
            return error.message
        assert self.secret not in self.make.log
        return NOTHING


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[int, list[str]]]:
    """A port on loopback that answers with what nobody may see, and who asked it."""
    askers: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            while True:
                connection, address = server.accept()
                with connection:
                    if address[1] == stopper.get("port"):
                        return
                    askers.append(f"{address}")
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\ninternal\n")

        stopper: dict[str, int] = {}
        thread = threading.Thread(target=serve)
        thread.start()
        yield port, askers
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            stopper["port"] = last.getsockname()[1]
            last.connect(("127.0.0.1", port))
            thread.join(30)


@pytest.fixture(scope="module")
def stranger(
    session_image_prefix: str, asked: tuple[int, list[str]], docker_client: Any
) -> Iterator[Stranger]:
    """A victim with an image and a cache, and a stranger with parents of its own."""
    make, port, secret = Maker(session_image_prefix), asked[0], secrets.token_hex(16)
    with override_settings(DOCKER_IMAGE_PREFIX=session_image_prefix):
        victim = images.tag_for("victim", "/fn", timezone.now())
        repository = victim.rpartition(":")[0]
        space = secrets.token_hex(16)
        order = {"cache": space, "own": (f"docker.io/{repository}",)}
        steps = "RUN --mount=type=cache,id=shared,target=/c cat /secret > /read\n"
        mounts = "--mount=type=cache,id=shared,target=/a --mount=type=cache,target=/c"
        built = make(
            f"FROM busybox\nCOPY secret /secret\n{steps}RUN {mounts} touch /a/x /c/x\n",
            {"secret": secret},
            tag=victim,
            **order,
        )
        own = f"{session_image_prefix}/mallory/fn"
        parents = {
            "adds": f"ONBUILD ADD http://127.0.0.1:{port}/ /x",
            "sets": f"ENV U=http://127.0.0.1:{port}/",
            "copies": f"ONBUILD COPY --from={victim} /secret /s",
            "mounts": f"ONBUILD RUN --mount=target=/m,from={victim} cat /m/secret",
        }
        for name, line in parents.items():
            docker_client.api.import_image_from_data(
                EMPTY, own, name, changes=[line, f"LABEL {LABEL}={make.prefix}"]
            )
        digits = built.id.removeprefix("sha256:")
        names = {
            "victim": victim,
            "guess": f"{repository}:{timezone.now():%Y%m%d%H%M%S}",
            "repository": repository,
            "id": built.id,
            "digits": digits,
            "short": digits[:12],
            "space": space,
            "url": f"http://127.0.0.1:{port}/",
            "port": str(port),
            **{name: f"{own}:{name}" for name in parents},
        }
        yield Stranger(make, names, (f"docker.io/{own}",), secret)


@pytest.fixture(scope="module")
def is_newer() -> bool:
    return engine.heredocs()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_nothing_of_others_comes_into_an_image(
    row: Row, stranger: Stranger, asked: tuple[int, list[str]], *, is_newer: bool
) -> None:
    """Threats 38, 39, 50, 121, 123 and 124: on this engine, as the page says."""
    expected = row.newer if is_newer and row.newer else row.older
    found = stranger.outcome(row.dockerfile)
    assert found == expected or re.search(SAID.get(expected, r"\Z."), found), found
    assert not asked[1], "the port on loopback was asked"


def test_where_the_engine_has_policies_they_hold_by_themselves(
    stranger: Stranger, asked: tuple[int, list[str]], *, is_newer: bool
) -> None:
    """Threats 39 and 121: the second wall, without a look at the file before."""
    assert is_newer is vetting.holds_sources(lambda: False)
    for text in UNSEEN if is_newer else ():
        assert policy.DENIED in stranger.built(text.format(**stranger.names)), text
    assert not asked[1]


def test_where_no_client_has_buildkit_ids_are_refused(
    stranger: Stranger, asked: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threats 39, 121 and 123: the classic builder takes three digits for an image."""
    monkeypatch.setattr(client, "find", lambda: None)
    for text in (
        "FROM {id}\nRUN cat /secret\n",
        "FROM {short}\nRUN cat /secret\n",
        "FROM busybox\nCOPY --from={short} /secret /s\nRUN cat /s\n",
        "FROM {victim}\n",
        "FROM {adds}\n",
        "FROM busybox\nADD {url} /x\n",
    ):
        assert stranger.outcome(text) == REFUSED, text
    assert not asked[1]


def test_the_same_can_be_had_by_its_own_application(stranger: Stranger) -> None:
    """Threat 39: a function may be built on the images of its application."""
    own = stranger.names["sets"]
    text = f"FROM {own}\nFROM busybox\nCOPY --from={own} / /its\n"
    assert stranger.outcome(text) == NOTHING


def test_the_page_has_this_table() -> None:
    assert PAGE.read_text().endswith(f"\n\n{table()}")
