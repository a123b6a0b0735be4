"""The processes of an installation and how each is started (DESIGN section 2)."""

from __future__ import annotations

import socket
import sys

from django.conf import settings

from runtime.http_server import BACKLOG
from zerverless_site import clusters
from zerverless_site.supervisor import Program

# Functions come first: pages, polls and builds take what those leave of a busy machine.
BEHIND = 10

ROLES = ("gateway", "web", "worker")


def programs(roles: tuple[str, ...]) -> list[Program]:
    """The programs of the given roles, in the order they start. Raises OSError where
    the gateway's port is taken."""
    known = {"gateway": _gateways, "web": lambda: [_web()], "worker": _workers}
    return [program for role in roles for program in known[role]()]


def _gateways() -> list[Program]:
    """A single gateway listens on sockets that outlive it. Several have each their own:
    the others take over what comes while one is away."""
    names = ["gateway"]
    names += [f"gateway-{n}" for n in range(2, settings.ZERVERLESS_GATEWAYS + 1)]
    listening = _listen() if len(names) == 1 else []
    command = [sys.executable, "-m", "runtime.gateway"]
    return [Program(name, command, listening=listening) for name in names]


def _listen() -> list[socket.socket]:
    found = socket.getaddrinfo(
        settings.ZERVERLESS_BIND,
        settings.ZERVERLESS_PORT,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    return [
        socket.create_server(address, family=family, backlog=BACKLOG)
        for family, _, _, _, address in found
    ]


def _workers() -> list[Program]:
    queues = [
        _cluster(name, "qcluster") for name in (clusters.CONTROL, clusters.BUILDS)
    ]
    return [*queues, _cluster(clusters.GIT, "work_git")]


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


def _cluster(name: str, command: str) -> Program:
    return Program(
        f"worker-{name}",
        [sys.executable, str(settings.BASE_DIR / "manage.py"), command],
        env={"Q_CLUSTER_NAME": name},
        cluster=name,
        nice=BEHIND,
    )
