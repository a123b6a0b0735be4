"""The gateway's background thread: routes, heartbeat, and whether we still have a
parent. It has a database connection of its own; requests never wait for it.

When the database is away the last route table keeps serving.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from applications.work import Cluster
from runtime import routes
from runtime.models import Gateway, Installation
from runtime.routes import RouteTable

log = logging.getLogger(__name__)

INTERVAL = 0.25
HEARTBEAT = 5.0
# Without a successful look at the database for this long it counts as unreachable.
STALE = 5.0
# Workers are asked for a beat every few seconds; without one this long they are stuck.
WORKER_SILENT = timedelta(seconds=60)


class Watch:
    """Keeps `table` up to date from `start` to `stop`."""

    def __init__(self) -> None:
        self.gateway_id = secrets.token_hex(8)
        self.table: RouteTable | None = None  # what requests use
        # Told of each new table, on the watch's thread; `use` is who puts it in force.
        self.publish: Callable[[RouteTable], None] = self.use
        # Done with every look, on the watch's thread and its database connection.
        self.chores: list[Callable[[], None]] = []
        self.owner = ""
        self.is_migrated = False
        self.has_workers = False
        self._version: int | None = None
        self._seen_at = float("-inf")
        self._next_beat = 0.0
        self._parent = os.getppid()
        self._failing = False
        self._stopping = threading.Event()
        self._first_look = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="gateway-watch", daemon=True
        )

    def start(self, seconds: float = 3.0) -> None:
        """Begin, and give the first look at the database that long."""
        self._thread.start()
        self._first_look.wait(seconds)

    def stop(self, seconds: float = 5.0) -> None:
        """End the thread and remove the gateway's row: this one is gone."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def use(self, table: RouteTable) -> None:
        """Have requests find their routes here from now on."""
        is_new = self.table is None or self.table.version != table.version
        self.table = table
        if is_new:
            log.info("%s routes, version %s", len(table), table.version)

    @property
    def is_database_reachable(self) -> bool:
        return time.monotonic() - self._seen_at < STALE

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look()
                self._first_look.set()
                self._check_parent()
                self._stopping.wait(INTERVAL)
            self._leave()
        finally:
            connection.close()

    def _look(self) -> None:
        try:
            # The row first: cleanup takes containers of an unknown gateway for lost.
            self._beat()
            self._refresh()
            for chore in self.chores:
                chore()
            self._check_migrations()
        except DatabaseError as error:
            if not self._failing:  # once, not four times a second
                log.error("the database cannot be read, routes stay: %s", error)
            self._failing = True
            connection.close()
        else:
            self._failing = False
            self._seen_at = time.monotonic()

    def _refresh(self) -> None:
        if self._version is not None and self._version == routes.current_version():
            return
        if not self.owner:
            self.owner = f"{Installation.current().name}-{self.gateway_id}"
        table = routes.load(self.table)
        self._version = table.version
        self.publish(table)

    def _beat(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        Gateway.objects.update_or_create(
            pk=self.gateway_id,
            defaults={"pid": os.getpid(), "heartbeat_at": timezone.now()},
        )
        beats = list(Cluster.objects.values_list("beat_at", flat=True))
        oldest = timezone.now() - WORKER_SILENT
        self.has_workers = bool(beats) and all(beat and beat > oldest for beat in beats)
        self._next_beat = time.monotonic() + HEARTBEAT

    def _check_migrations(self) -> None:
        if not self.is_migrated:
            executor = MigrationExecutor(connection)
            targets = executor.loader.graph.leaf_nodes()
            self.is_migrated = not executor.migration_plan(targets)

    def _check_parent(self) -> None:
        # granian's worker outlives a killed main process and would keep the port.
        if os.getppid() != self._parent and not self._stopping.is_set():
            log.error("the parent process is gone, stopping")
            self._parent = os.getppid()
            os.kill(os.getpid(), signal.SIGTERM)

    def _leave(self) -> None:
        try:
            Gateway.objects.filter(pk=self.gateway_id).delete()
        except DatabaseError as error:
            log.warning("the gateway row stays: %s", error)
