"""The processes of an installation and how each is started (DESIGN section 2)."""

from __future__ import annotations

import sys

from django.conf import settings

from zerverless_site.supervisor import Program

ROLES = ("gateway", "web", "worker")


def programs(roles: tuple[str, ...]) -> list[Program]:
    """The programs of the given roles, in the order they start."""
    known = {
        "gateway": [_gateway()],
        "web": [_web()],
        "worker": [_cluster("control"), _cluster("builds")],
    }
    return [program for role in roles for program in known[role]]


def _granian(*arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "granian",
        "--workers=1",
        "--http=1",
        "--no-ws",
        "--workers-kill-timeout=10",
        "--log-level=warning",
        *arguments,
    ]


def _gateway() -> Program:
    return Program(
        "gateway",
        _granian(
            "--interface=asgi",
            "--loop=uvloop",
            f"--host={settings.ZERVERLESS_BIND}",
            f"--port={settings.ZERVERLESS_PORT}",
            "--backlog=1024",
            "--backpressure=1024",
            "--http1-buffer-size=65536",
            "--http1-header-read-timeout=20000",
            "runtime.gateway:app",
        ),
    )


def _web() -> Program:
    return Program(
        "web",
        _granian(
            "--interface=wsgi",
            f"--uds={settings.WEB_SOCKET}",
            "--uds-permissions=0600",
            "--blocking-threads=4",
            "--backpressure=64",
            "zerverless_site.wsgi:application",
        ),
        stale=settings.WEB_SOCKET,
    )


def _cluster(name: str) -> Program:
    return Program(
        f"worker-{name}",
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"],
        env={"Q_CLUSTER_NAME": name},
        cluster=name,
    )
