"""The route table, and where it comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import routes
from runtime.models import Installation
from runtime.route import Route, RouteConfig
from runtime.routes import RouteTable
from tests.fixtures.rows import make_application


def route(namespace: str, path: str) -> Route:
    return Route(1, 1, 1, namespace, path, "sha256:0", "abc")


TABLE = RouteTable(
    [
        route("alice", "/api"),
        route("alice", "/api/v1"),
        route("alice", "/a/b/c"),
        route("bob", "/"),
    ]
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("alice/api", ("/api", 2)),
        ("alice/api/", ("/api", 2)),
        ("alice/api/v1/x", ("/api/v1", 3)),
        ("alice/api/v2", ("/api", 2)),
        ("alice/a/b", None),
        ("alice/a/b/c/d", ("/a/b/c", 4)),
        ("alice", None),
        ("bob", ("/", 1)),
        ("bob/x/y/z/1/2/3", ("/", 1)),
        ("", None),
        ("/alice/api", None),
    ],
)
def test_the_longest_path_wins(path: str, found: tuple[str, int] | None) -> None:
    hit = TABLE.find(tuple(path.split("/")))
    assert (hit and (hit[0].path, hit[1])) == found


@given(st.lists(st.sampled_from(["alice", "bob", "api", "v1", "", "a", "b", "c"])))
def test_a_route_only_takes_its_own_namespace(segments: list[str]) -> None:
    """Threat 68."""
    hit = TABLE.find(tuple(segments))
    assert hit is None or hit[0].namespace == segments[0]


def test_an_empty_table_finds_nothing() -> None:
    assert RouteTable().find(("alice", "api")) is None


def test_a_table_can_hold_an_older_route_at_its_place() -> None:
    old = replace(route("alice", "/api"), deployment_id=7)
    held = TABLE.holding([old])
    assert held.find(("alice", "api", "x")) == (old, 2)
    assert held.find(("alice", "api", "v1")) == TABLE.find(("alice", "api", "v1"))
    assert held.deployments == {1, 7}
    assert TABLE.at(old) == route("alice", "/api"), "the table itself has changed"
    assert TABLE.at(route("alice", "/gone")) is None


def test_a_table_knows_whose_instances_are_always_there() -> None:
    once = route("alice", "/once")
    server = replace(once, path="/server", config=RouteConfig(port=80))
    config = RouteConfig(port=80, min_instances=1)
    kept = replace(server, path="/kept", config=config)
    assert RouteTable([once, server, kept]).kept == (kept,)


@pytest.mark.django_db
def test_only_live_deployments_are_routed() -> None:
    from applications.models import Revision
    from builds.models import Build
    from runtime.models import Deployment

    application = make_application(namespace="alice")
    function = application.functions.create(namespace="alice", path="/api")
    revision = Revision.objects.create(application=application, sha="a" * 40)
    for number, is_live in ((1, False), (2, True)):
        build = Build.objects.create(function=function, revision=revision, key="k")
        Deployment.objects.create(
            function=function,
            build=build,
            number=number,
            image_id="sha256:1",
            image_tag="t",
            commit=revision.sha,
            config={"timeout": 5, "methods": ["GET"], "memory": None, "later": 1},
            is_live=is_live,
        )
    Installation.objects.update_or_create(pk=1, defaults={"routes_version": 7})
    table = routes.load()
    assert (len(table), table.version) == (1, 7)
    hit = table.find(("alice", "api"))
    assert hit is not None
    assert (hit[0].number, hit[0].commit) == (2, "a" * 40)
    assert (hit[0].config.timeout, hit[0].config.methods) == (5, ("GET",))
    assert hit[0].config.memory == 256 << 20
