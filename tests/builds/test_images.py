"""Names that cannot collide, labels, the check of an image, and its end."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications.names import function_path_problem, namespace_problem
from builds import images
from builds.engine import ImageInfo
from builds.errors import BuildError

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
# github.com/distribution/reference, regexp.go: a whole reference with a tag.
REFERENCE = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r":[\w][\w.-]{0,127}"
)

names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z").filter(
    lambda name: not namespace_problem(name)
)
segments = st.from_regex(r"\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z")
paths = (
    st.lists(segments, max_size=5)
    .map(lambda parts: "/" + "/".join(parts))
    .filter(lambda path: not function_path_problem(path))
)


def name_of(namespace: str, path: str) -> str:
    return images.name_of(namespace, path)


@pytest.mark.parametrize(
    ("namespace", "path", "name"),
    [
        ("alice", "/api", "zerverless/alice/api"),
        ("alice", "/api/v1.2/x_y", "zerverless/alice/api/v1.2/x_y"),
        ("team-a", "/b", "zerverless/team-a/b"),
    ],
)
def test_a_plain_name_is_the_path(namespace: str, path: str, name: str) -> None:
    assert name_of(namespace, path) == name


def test_a_tag_is_the_time_in_utc_and_what_nobody_can_guess() -> None:
    """Threat 39: two tags of one second differ, by 80 random bits."""
    berlin = WHEN.astimezone(timezone(timedelta(hours=1)))
    tags = {images.tag_for("a", "/b", berlin) for _ in range(2)}
    assert len(tags) == 2
    for tag in tags:
        assert re.fullmatch(r"zerverless/a/b:20260102030405-[0-9a-f]{20}", tag)


@pytest.mark.parametrize(
    "path", ["/", "/a._b", "/a___b", "/a.-b", "/" + "x" * 60 + "/" + "y" * 60 * 2]
)
def test_what_docker_refuses_gets_a_digest(path: str) -> None:
    assert re.search(r"-z[0-9a-f]{12}\Z", name_of("a" * 63, path))


def test_nobody_can_choose_the_name_another_function_got() -> None:
    """Threat 54."""
    taken = name_of("alice", "/a._b")
    assert name_of("alice", taken.removeprefix("zerverless/alice")) != taken


@given(names, paths, names, paths)
def test_different_functions_have_different_names(
    namespace: str, path: str, other_namespace: str, other_path: str
) -> None:
    """Threat 54."""
    one, two = (namespace, path), (other_namespace, other_path)
    assert (name_of(*one) == name_of(*two)) is (one == two)


@given(names, paths)
def test_docker_accepts_every_name(namespace: str, path: str) -> None:
    """Threat 54."""
    tag = images.tag_for(namespace, path, WHEN)
    assert REFERENCE.fullmatch(tag)
    assert len(tag) <= 255


@given(names, paths, paths)
def test_a_digest_cannot_be_chosen(namespace: str, path: str, other: str) -> None:
    """Threat 54: a path made from another's name, digest and all, is another name."""
    inner = name_of(namespace, path).removeprefix(f"zerverless/{namespace}")
    for crafted in (inner, other + inner):
        if not function_path_problem(crafted) and crafted != path:
            assert name_of(namespace, crafted) != name_of(namespace, path)


GOOD: dict[str, Any] = {"Cmd": ["python", "app.py"], "WorkingDir": "/app"}
HERE = ("linux", "amd64")


def image(**config: Any) -> ImageInfo:
    return ImageInfo("sha256:1", 1, {**GOOD, **config}, "linux", "amd64")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"Cmd": None}, "neither CMD nor ENTRYPOINT"),
        ({"Cmd": [], "Entrypoint": []}, "neither CMD nor ENTRYPOINT"),
        ({"WorkingDir": "/proc/self/fd/7"}, "WORKDIR /proc/self/fd/7"),
        ({"WorkingDir": "//proc"}, "WORKDIR /proc"),
        ({"WorkingDir": "/app/../proc/self"}, "WORKDIR /proc/self"),
        ({"Env": [f"A{n}={'x' * 1000}" for n in range(70)]}, "ENV holds 70"),
        ({"Volumes": {f"/v{n}": {} for n in range(17)}}, "17 volumes; at most 16"),
        ({"Volumes": {"/v/../d0": {}}}, "write /d0"),
        ({"Volumes": {"/odd/": {}}}, "write /odd"),
        ({"Volumes": {"//two": {}}}, "write /two"),
        ({"Volumes": {"/a/./b": {}}}, "write /a/b"),
        ({"Volumes": {"": {}}}, "begin with a slash"),
        ({"Volumes": {"data": {}}}, "begin with a slash"),
        ({"Volumes": {"/a\nb": {}}}, "does not print"),
        ({"Volumes": {f"/{'a' * 2000}": {}}}, "longer than"),
        ({"Volumes": {"/": {}}}, "not allowed"),
        ({"Volumes": {"/a/..": {}}}, "not allowed"),
        ({"Volumes": {"/etc": {}}}, "not allowed"),
        ({"Volumes": {"/x/../proc/sys": {}}}, "not allowed"),
        ({"Volumes": {"//dev/shm": {}}}, "not allowed"),
        ({"Volumes": {"/sys": {}}}, "not allowed"),
        ({"Volumes": {"/.zerverless": {}}}, "not allowed"),
    ],
)
def test_an_image_that_cannot_be_a_function_is_refused(
    config: dict[str, Any], words: str
) -> None:
    """Threat 47."""
    with pytest.raises(BuildError, match=words) as caught:
        images.check(image(**config), HERE)
    assert caught.value.code == "build:image"


@pytest.mark.parametrize("platform", [("linux", "arm64"), ("windows", "amd64")])
def test_an_image_for_another_machine_is_refused(platform: tuple[str, str]) -> None:
    """Threats 47 and 51."""
    with pytest.raises(BuildError, match=r"--platform"):
        images.check(image(), platform)


@pytest.mark.parametrize(
    "config",
    [{}, {"Cmd": None, "Entrypoint": ["/app"]}, {"WorkingDir": "/process"},
     {"Volumes": None, "Env": None, "WorkingDir": ""}],
)  # fmt: skip
def test_an_ordinary_image_passes(config: dict[str, Any]) -> None:
    images.check(image(**config), HERE)


@pytest.mark.parametrize(
    ("exposed", "ports"),
    [
        (None, ()),
        ({}, ()),
        ({"8080/tcp": {}}, (8080,)),
        ({"8080": {}}, (8080,)),
        ({"443/tcp": {}, "80/tcp": {}}, (80, 443)),
        ({"53/udp": {}, "80/tcp": {}, "9/sctp": {}}, (80,)),
        ({"x/tcp": {}, "80-90/tcp": {}}, ()),
    ],
)
def test_exposed_ports_are_the_tcp_ones(exposed: Any, ports: tuple[int, ...]) -> None:
    image = ImageInfo("sha256:0", 0, {"ExposedPorts": exposed})
    assert images.exposed_ports(image) == ports
