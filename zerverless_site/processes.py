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
        "--respawn-failed-workers",
        "--respawn-interval=0.5",
        "--log-level=warning",
        "--no-ws",
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
            "runtime.gateway:app",
        ),
    )


def _web() -> Program:
    return Program(
        "web",
        _granian(
            "--interface=wsgi",
            f"--uds={settings.WEB_SOCKET}",
            "--uds-permissions=600",
            "--blocking-threads=4",
            "zerverless_site.wsgi:application",
        ),
    )


def _cluster(name: str) -> Program:
    return Program(
        f"worker-{name}",
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"],
        env={"Q_CLUSTER_NAME": name},
        cluster=name,
    )
