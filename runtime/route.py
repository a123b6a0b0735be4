"""A live deployment as the gateway holds it in memory."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RouteConfig:
    """The manifest's keys that one request depends on. Seconds and bytes.

    With a `port` the function is a server: `concurrency` is then for each instance,
    and `min_instances`, `max_instances` and `idle` say how many there are and how long.
    """

    response: str = "raw"
    content_type: str = ""
    timeout: float = 30
    memory: int = 256 << 20
    cpu: float = 0.5
    concurrency: int | None = None
    methods: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    port: int | None = None
    min_instances: int = 0
    max_instances: int = 4
    idle: float = 300
    network: str = "none"


@dataclass(frozen=True)
class Route:
    """A live deployment as the gateway holds it in memory."""

    function_id: int
    deployment_id: int
    number: int
    namespace: str
    path: str
    image_id: str
    commit: str
    config: RouteConfig = field(default_factory=RouteConfig)

    @property
    def is_server(self) -> bool:
        """Whether it listens on a port, instead of running once for each request."""
        return self.config.port is not None

    @property
    def is_kept(self) -> bool:
        """Whether some of its instances are always there."""
        return self.is_server and self.config.min_instances > 0
