"""A gateway that was killed: what it left is found by its name, and goes."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import Any

from django.utils import timezone

from runtime import engine
from runtime.models import GATEWAY_DEAD, Installation, Instance
from runtime.models import Gateway as Row
from tests.fixtures.functions import wait_until
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


def test_instances_and_sandboxes_of_a_killed_gateway_go(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway()
    gateway.deploy("/server", server_image(), port=8080)
    assert gateway.get("/alice/server/x").status == 200
    rows: Any = Instance.objects.using(gateway.alias)
    wait_until(lambda: rows.filter(state="ready").exists())
    installation = Installation.objects.using(gateway.alias).get().name

    gateway.kill()
    left = {row.name.split("-")[3][:6] for row in engine.list_ours(installation)}
    assert left == {"server", "sandbo"}
    manage(gateway, "cleanup.remove_orphans()")
    assert engine.list_ours(installation), "it was heard of a moment ago"

    silent = timezone.now() - GATEWAY_DEAD - timedelta(seconds=1)
    Row.objects.using(gateway.alias).update(heartbeat_at=silent)
    manage(gateway, "cleanup.remove_orphans()")
    assert engine.list_ours(installation) == []
    assert not rows.exists()
