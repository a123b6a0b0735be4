"""`manage.py serve`: start gateway, web and workers, and keep them running."""

from __future__ import annotations

import http.client
import os
import signal
import time
from http import HTTPStatus
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from runtime import cleanup, hosts
from zerverless_site import (
    answering,
    preflight,
    processes,
    sample,
    saved_settings,
    setup,
)
from zerverless_site.settings import read
from zerverless_site.supervisor import Program, Supervisor

SOCKET_PATH_MAX = 107  # unix(7): sun_path without its final NUL


class Command(BaseCommand):
    """Run the platform in the foreground until Ctrl-C or SIGTERM."""

    help = "Start gateway, web and workers and keep them running."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only",
            choices=processes.ROLES,
            help="Run one of them, as the containers of docker-compose.yml do.",
        )

    def handle(self, *args: Any, only: str | None = None, **options: Any) -> None:
        if len(str(settings.WEB_SOCKET)) > SOCKET_PATH_MAX:
            raise CommandError(
                f"{settings.WEB_SOCKET} is longer than a unix socket's path may be "
                f"({SOCKET_PATH_MAX}): set ZERVERLESS_DATA_DIR to a shorter path.",
                returncode=2,
            )
        self.began = time.monotonic()
        roles = (only,) if only else processes.ROLES
        programs = self._programs(roles)
        self.say("preparing database and static files")
        preflight.prepare()
        if only is None:
            # Roles in containers of their own each have settings of their own.
            names = [setting.name for setting in read.declared]
            saved_settings.save(settings.DATA_DIR, names, os.environ)
        supervisor = Supervisor(programs, None if only else settings.DATA_DIR / "log")
        self._obey_signals(supervisor)
        try:
            self.say("starting " + ", ".join(p.name for p in supervisor.programs))
            supervisor.start()
            if only is None:
                self._welcome(supervisor)
            else:
                self._greet(only)
            supervisor.watch()
        finally:
            self.say("stopping")
            supervisor.stop()
            if "gateway" in roles:
                cleanup.remove_everything_running()

    def _programs(self, roles: tuple[str, ...]) -> list[Program]:
        try:
            return processes.programs(roles)
        except OSError as error:
            place = f"{settings.ZERVERLESS_BIND}:{settings.ZERVERLESS_PORT}"
            raise CommandError(
                f"The gateway cannot listen on {place}: {error.strerror}. Stop what "
                "listens there, or set ZERVERLESS_PORT or ZERVERLESS_BIND.",
                returncode=2,
            ) from error

    def say(self, text: str) -> None:
        self.stderr.write(f"[{time.monotonic() - self.began:5.1f}s] {text}")

    def _obey_signals(self, supervisor: Supervisor) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            supervisor.stopping = True

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)

    def _greet(self, role: str) -> None:
        """One role of several: what its own log should tell."""
        if role == "worker" and settings.ZERVERLESS_SAMPLE:
            sample.register()
        if role == "web":
            self._tell_first_login()

    def _tell_first_login(self) -> None:
        link = setup.link()
        if link:
            self.say(f"first login, once: {link}")

    def _welcome(self, supervisor: Supervisor) -> None:
        login = f"{settings.ZERVERLESS_BASE_URL}{reverse('login')}"
        if self._until_answers(supervisor, login, "dashboard"):
            # First: whoever waits for the sample, or looks why it fails, needs them.
            self.say(f"dashboard: {settings.ZERVERLESS_BASE_URL}/-/")
            self._tell_first_login()
        if settings.ZERVERLESS_SAMPLE and not supervisor.stopping:
            self.say("sample application: polling, building, deploying")
            sample.register()
            self._tell_sample(supervisor)
        if not supervisor.stopping:
            self.say(f"logs: {settings.DATA_DIR / 'log'}   stop: Ctrl-C")

    def _tell_sample(self, supervisor: Supervisor) -> None:
        url = hosts.address_of(sample.NAMESPACE, sample.PATH)
        own = hosts.own_address_of(sample.NAMESPACE, sample.PATH)
        if self._until_answers(supervisor, url, "sample function"):
            self.say(f"live: {url}")
            if own not in {"", url}:
                self.say(f"live in an origin of its own, for browsers: {own}")

    def _until_answers(self, supervisor: Supervisor, url: str, what: str) -> bool:
        """Wait until `url` answers 200, telling every few seconds that it does not."""
        last = ""
        told = time.monotonic()
        while not supervisor.stopping:
            try:
                status = answering.status_of(url)
                if status == HTTPStatus.OK:
                    return True
                last = f"{status} {HTTPStatus(status).phrase}"
            except (OSError, http.client.HTTPException) as error:
                last = str(error)
            if time.monotonic() - told > 5:
                told = time.monotonic()
                self.say(f"waiting for the {what} ({last})")
            supervisor.watch_once()
            supervisor.pause(0.2)
        return False
