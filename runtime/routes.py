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


def load() -> RouteTable:
    """Read the live deployments. The version is read first: a change between the two
    queries is then loaded once more instead of being missed."""
    version = current_version()
    live = Deployment.objects.live().select_related("function")
    return RouteTable((route_of(deployment) for deployment in live), version)


def route_of(deployment: Deployment) -> Route:
    """What the gateway keeps of a deployment."""
    return Route(
        function_id=deployment.function_id,
        deployment_id=deployment.pk,
        number=deployment.number,
        namespace=deployment.function.namespace,
        path=deployment.function.path,
        image_id=deployment.image_id,
        commit=deployment.commit,
        config=config_of(deployment.config),
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
