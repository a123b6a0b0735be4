"""What a manifest says of one function, as plain values that survive JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

# Where the manifest does not say; `idle` in seconds.
INSTANCES_MAX = 4
IDLE = 300


@dataclass(frozen=True)
class Check:
    """A request a deployment must answer as expected before it goes live."""

    method: str
    path: str  # below the function's own, with the query
    status: int = 200
    contains: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class FunctionSpec:
    """One declared function: what its image is made of, and how it runs.

    `port` is None where the image decides whether it is a server, 0 for `port: none`.
    """

    path: str
    runtime: str
    dockerfile: str  # both relative to the repository root, the root itself is "."
    context: str
    target: str = ""
    response: str = "raw"
    content_type: str = ""
    timeout: int = 30  # seconds
    memory: int = 256 << 20  # bytes
    cpu: float = 0.5
    concurrency: int | None = None  # None: the setting's default
    methods: tuple[str, ...] = ()  # none: all of them
    env: dict[str, str] = field(default_factory=dict, hash=False)
    port: int | None = None
    min_instances: int = 0
    max_instances: int = INSTANCES_MAX
    idle: int = IDLE  # seconds
    network: str = "none"
    checks: tuple[Check, ...] = ()

    def port_of(self, exposed: tuple[int, ...]) -> int | None:
        """The port it serves on, given those its image exposes; None: it is no server.

        One exposed port makes a server, unless the manifest says otherwise: in so many
        words, or by saying how standard output becomes the answer.
        """
        if self.port is not None:
            return self.port or None
        if self.response != "raw" or self.content_type or len(exposed) != 1:
            return None
        return exposed[0]

    def build_part(self) -> dict[str, Any]:
        """What decides the image, besides the files themselves."""
        return {
            "dockerfile": self.dockerfile,
            "context": self.context,
            "target": self.target,
        }

    def config(self) -> dict[str, Any]:
        """What decides how it runs, as JSON: stored with the deployment."""
        return {
            "response": self.response,
            "content_type": self.content_type,
            "timeout": self.timeout,
            "memory": self.memory,
            "cpu": self.cpu,
            "concurrency": self.concurrency,
            "methods": list(self.methods),
            "env": dict(self.env),
            "port": self.port,
            "min_instances": self.min_instances,
            "max_instances": self.max_instances,
            "idle": self.idle,
            "network": self.network,
            "checks": [asdict(check) for check in self.checks],
        }

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON: stored with the build."""
        return {
            "path": self.path,
            "runtime": self.runtime,
            **self.build_part(),
            **self.config(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FunctionSpec:
        """What `as_dict` gave, in this version or an earlier one."""
        known = {key: data[key] for key in cls.__dataclass_fields__ if key in data}
        known["methods"] = tuple(known.get("methods", ()))
        known["checks"] = tuple(Check(**check) for check in known.get("checks", ()))
        return cls(**known)


def unused(config: dict[str, Any]) -> tuple[str, ...]:
    """The manifest's keys that mean nothing in a stored config without a port."""
    fewest, most = config.get("min_instances", 0), config.get("max_instances")
    said = {
        "instances": (fewest, most or INSTANCES_MAX) != (0, INSTANCES_MAX),
        "idle": config.get("idle", IDLE) != IDLE,
    }
    names = tuple(key for key, is_said in said.items() if is_said)
    return () if config.get("port") else names
