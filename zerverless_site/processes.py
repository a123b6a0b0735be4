"""The processes of an installation and how each is started (DESIGN section 2)."""

from __future__ import annotations

import sys

from django.conf import settings

from zerverless_site.supervisor import Program

# Functions come first: pages, polls and builds take what those leave of a busy machine.
BEHIND = 10

ROLES = ("gateway", "web", "worker")


def programs(roles: tuple[str, ...]) -> list[Program]:
    """The programs of the given roles, in the order they start."""
    known = {
        "gateway": [_gateway(n) for n in range(1, settings.ZERVERLESS_GATEWAYS + 1)],
        "web": [_web()],
        "worker": [_cluster("control"), _cluster("builds")],
    }
    return [program for role in roles for program in known[role]]


def _gateway(number: int) -> Program:
    name = "gateway" if number == 1 else f"gateway-{number}"
    return Program(name, [sys.executable, "-m", "runtime.gateway"])


def _web() -> Program:
    return Program(
        "web",
        [
            *(sys.executable, "-m", "granian", "--interface=wsgi"),
            *("--workers=1", "--http=1", "--no-ws", "--workers-kill-timeout=10"),
            *(f"--uds={settings.WEB_SOCKET}", "--uds-permissions=0600"),
            *("--blocking-threads=4", "--backpressure=64", "--log-level=warning"),
            "zerverless_site.wsgi:application",
        ],
        stale=settings.WEB_SOCKET,
        nice=BEHIND,
    )


def _cluster(name: str) -> Program:
    return Program(
        f"worker-{name}",
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"],
        env={"Q_CLUSTER_NAME": name},
        cluster=name,
        nice=BEHIND,
    )
