"""What a deployment's container is made of, whichever way it is used."""

from __future__ import annotations

from typing import Any

from runtime import engine, sandbox
from runtime.environment import is_reserved
from runtime.errors import FunctionFailed
from runtime.facts import Image
from runtime.route import Route


def name(owner: str, suffix: str) -> str:
    """A container's name; `owner` is `<installation>-<gateway>`."""
    installation, _, gateway = owner.partition("-")
    return engine.container_name(installation, gateway, suffix)


def runnable(image_id: str) -> Image:
    """The image of a deployment; FunctionFailed where it cannot be run at all."""
    image = engine.image(image_id)
    problem = sandbox.refusal(
        has_command=bool(image.command), workdir=image.workdir, volumes=image.volumes
    )
    if problem:
        raise FunctionFailed(problem)
    return image


def config(
    route: Route,
    image: Image,
    environment: dict[str, str],
    *,
    reads_body: bool = False,
) -> dict[str, Any]:
    """The body of the Engine API's "create a container"."""
    if not image.user and not any(pair.startswith("HOME=") for pair in image.env):
        environment.setdefault("HOME", "/tmp")  # noqa: S108
    return sandbox.container_config(
        route.image_id,
        environment,
        sandbox.Limits(route.config.memory, route.config.cpu),
        user=image.user,
        volumes=image.volumes,
        # A container inherits its image's labels: blank, they say nothing about ours.
        labels={**dict.fromkeys(image.labels, ""), **_labels(route)},
        reads_body=reads_body,
    )


def own(route: Route) -> dict[str, str]:
    """The manifest's variables: the same for every request."""
    return {k: v for k, v in route.config.env.items() if not is_reserved(k)}


def _labels(route: Route) -> dict[str, str]:
    return {
        "zerverless.function": f"{route.namespace}{route.path}",
        "zerverless.deployment": str(route.deployment_id),
        "zerverless.commit": route.commit,
    }
