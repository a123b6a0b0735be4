"""A gateway that was killed: what it left is found by its name, and goes."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

from django.utils import timezone

from runtime import egress, engine
from runtime.models import GATEWAY_DEAD, Installation, Instance
from runtime.models import Gateway as Row
from tests.fixtures.functions import docker, wait_until
from tests.fixtures.gateway import ROOT, Gateway, StartGateway
from tests.fixtures.servers import server_image

_SWEEP = "import django; django.setup(); from runtime import cleanup; "


def manage(gateway: Gateway, call: str) -> None:
    """Call something in a process with the gateway's settings, as the worker does."""
    environment = {
        **gateway.env,
        "DJANGO_SETTINGS_MODULE": "zerverless_site.settings",
    }
    program = [sys.executable, "-c", _SWEEP + call]
    subprocess.run(program, cwd=ROOT, env=environment, check=True)


def networks(installation: str) -> list[str]:
    listed = docker(
        "network", "ls", "--format", "{{.Name}}", "--filter", "name=-egress"
    )
    return [name for name in listed.split() if installation in name]


def test_instances_and_sandboxes_of_a_killed_gateway_go(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway()
    gateway.deploy("/server", server_image(), port=8080)
    gateway.deploy("/out", server_image(), port=8080, network="egress")
    for path in ("/alice/server/x", "/alice/out/x"):
        assert gateway.get(path).status == 200
    rows: Any = Instance.objects.using(gateway.alias)
    wait_until(lambda: rows.filter(state="ready").count() == 2)
    installation = Installation.objects.using(gateway.alias).get().name

    gateway.kill()
    left = {row.name.split("-")[3][:6] for row in engine.list_ours(installation)}
    assert left == {"server", "sandbo"}
    assert networks(installation) == [egress.network_name(installation)]
    manage(gateway, "cleanup.remove_orphans()")
    assert engine.list_ours(installation), "it was heard of a moment ago"

    silent = timezone.now() - GATEWAY_DEAD - timedelta(seconds=1)
    Row.objects.using(gateway.alias).update(heartbeat_at=silent)
    manage(gateway, "cleanup.remove_orphans()")
    assert engine.list_ours(installation) == []
    assert networks(installation) == []
    assert not rows.exists()
