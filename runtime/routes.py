"""The route table: which live deployment answers at a path. In memory, immutable.

A table is built from the live deployments in one query and replaced as a whole, so a
request sees either the old set of routes or the new one. No query on the hot path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import copy
from dataclasses import fields
from typing import Any

from django.conf import settings

from runtime.models import Deployment, Installation
from runtime.route import Route, RouteConfig

_FEW = 200
_COLUMNS = (
    "pk",
    "function_id",
    "number",
    "function__namespace",
    "function__path",
    "image_id",
    "commit",
    "config",
)
_CONFIG = frozenset(field.name for field in fields(RouteConfig))


class RouteTable:
    """Routes by namespace and path segments; the longest path wins."""

    def __init__(
        self, routes: Iterable[Route] = (), version: int | None = None
    ) -> None:
        self.version = version
        self._routes = {_place(route): route for route in routes}
        self.deployments = frozenset(r.deployment_id for r in self._routes.values())
        self.has_servers = any(route.is_server for route in self._routes.values())
        self.kept = tuple(r for r in self._routes.values() if r.is_kept)
        self._depth = max(map(len, self._routes), default=0)

    def __len__(self) -> int:
        return len(self._routes)

    def by_deployment(self) -> dict[int, Route]:
        """Every route by its deployment."""
        return {route.deployment_id: route for route in self._routes.values()}

    def find(self, segments: tuple[str, ...]) -> tuple[Route, int] | None:
        """The route and how many segments it takes; `("alice", "api", "x")` → 2."""
        for depth in range(min(len(segments), self._depth), 0, -1):
            route = self._routes.get(segments[:depth])
            if route is not None:
                return route, depth
        return None

    def at(self, route: Route) -> Route | None:
        """What answers here at the very place of `route`, of whichever table."""
        return self._routes.get(_place(route))

    def holding(self, routes: Collection[Route]) -> RouteTable:
        """This table with these routes at their places; cheap, however many it has."""
        if not routes:
            return self
        table = copy(self)
        table._routes = self._routes | {_place(route): route for route in routes}
        table.deployments = self.deployments | {r.deployment_id for r in routes}
        return table


def _place(route: Route) -> tuple[str, ...]:
    below = route.path.strip("/")
    return (route.namespace, *below.split("/")) if below else (route.namespace,)


def current_version() -> int:
    """The number that moves with every change of what is live."""
    row = Installation.objects.values_list("routes_version", flat=True).first()
    return row or 0


def load(earlier: RouteTable | None = None) -> RouteTable:
    """Read the live deployments. The version is read first: a change between the
    queries is then loaded once more instead of being missed.

    A deployment never changes, so those that `earlier` knows are taken from it: with
    ten thousand routes most of a change would be spent on what is as it was.
    """
    version = current_version()
    known = {} if earlier is None else earlier.by_deployment()
    live = Deployment.objects.live()
    ids = live.values_list("pk", flat=True)
    unknown = [pk for pk in ids if pk not in known]
    # One by one where they are few; a list of thousands is no query.
    wanted = live.filter(pk__in=unknown) if len(unknown) <= _FEW else live
    fresh = {row[0]: _route_of(row) for row in wanted.values_list(*_COLUMNS)}
    found = (known.get(pk) or fresh.get(pk) for pk in ids)
    return RouteTable(filter(None, found), version)


def _route_of(row: tuple[Any, ...]) -> Route:
    """What the gateway keeps of a deployment, from its columns."""
    deployment, function, number, namespace, path, image, commit, config = row
    return Route(
        function_id=function,
        deployment_id=deployment,
        number=number,
        namespace=namespace,
        path=path,
        image_id=image,
        commit=commit,
        config=config_of(config),
    )


def config_of(stored: dict[str, Any]) -> RouteConfig:
    """The keys a request depends on; a deployment's config may hold more of them."""
    known = {
        name: value
        for name, value in stored.items()
        if name in _CONFIG and value is not None
    }
    known["methods"] = tuple(known.get("methods", ()))
    known.setdefault("timeout", settings.ZERVERLESS_REQUEST_TIMEOUT)
    return RouteConfig(**known)
