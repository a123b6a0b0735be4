"""Writes what a gateway's instances are doing into rows for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time

from django.db import DatabaseError, transaction

from runtime.fleet import Fleet
from runtime.instance import Instance
from runtime.instances import Instances
from runtime.models import Deployment, InstanceState
from runtime.models import Instance as Row

INTERVAL = 2.0
_WHOLE = 60.0  # seconds after which unchanged rows are written too: one may be lost
_CHANGING = ["state", "in_flight", "last_used_at", "cold_ms"]


@dataclass(frozen=True)
class Seen:
    """One instance at one moment. Unix time, but for `last_used`: time.monotonic()."""

    name: str
    deployment_id: int
    memory: int
    state: str
    in_flight: int = 0
    started_at: float = 0.0
    last_used: float = 0.0
    cold_ms: float | None = None


class Snapshot:
    """The rows of one gateway. `write` is called often, always by the same thread."""

    def __init__(self, gateway_id: str, instances: Instances) -> None:
        self._gateway_id = gateway_id
        self._instances = instances
        self._written: dict[str, Seen] = {}
        self._due = self._whole_at = 0.0

    def write(self) -> None:
        """Write what has changed, if it is time to; raises DatabaseError."""
        now = monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL
        if now >= self._whole_at:
            self._written, self._whole_at = {}, now + _WHOLE
        seen = {one.name: one for one in self._look()}
        changed = [one for one in seen.values() if self._written.get(one.name) != one]
        gone = self._written.keys() - seen.keys()
        if not changed and not gone:
            return
        try:
            self._store(changed, list(seen))
        except DatabaseError:
            self._written = {}
            raise
        self._written = seen

    def _look(self) -> list[Seen]:
        """The gateway's loop goes on meanwhile: copies of what may change."""
        running = [_seen(instance) for instance in self._instances.all()]
        coming = [
            one
            for fleet in list(self._instances.fleets.values())
            for one in _starting(fleet, self._gateway_id)
        ]
        return running + coming

    @transaction.atomic
    def _store(self, changed: list[Seen], names: list[str]) -> None:
        Row.objects.filter(gateway=self._gateway_id).exclude(name__in=names).delete()
        # One that was deleted has taken its rows with it, and drains.
        known = set(
            Deployment.objects.filter(
                pk__in={one.deployment_id for one in changed}
            ).values_list("pk", flat=True)
        )
        Row.objects.bulk_create(
            [self._row(one) for one in changed if one.deployment_id in known],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=_CHANGING,
        )

    def _row(self, seen: Seen) -> Row:
        ago = monotonic() - seen.last_used
        used = datetime.fromtimestamp(time() - ago, UTC) if seen.last_used else None
        return Row(
            name=seen.name,
            gateway_id=self._gateway_id,
            deployment_id=seen.deployment_id,
            state=seen.state,
            in_flight=seen.in_flight,
            memory=seen.memory,
            started_at=datetime.fromtimestamp(seen.started_at or time(), UTC),
            last_used_at=used,
            cold_ms=seen.cold_ms,
        )


def _seen(instance: Instance) -> Seen:
    return Seen(
        name=instance.name,
        deployment_id=instance.route.deployment_id,
        memory=instance.route.config.memory,
        state=instance.state.value,
        in_flight=instance.in_flight,
        started_at=instance.started_at,
        last_used=instance.last_used,
        cold_ms=instance.cold_ms,
    )


def _starting(fleet: Fleet, gateway_id: str) -> list[Seen]:
    """Those on their way, which have no name yet."""
    route = fleet.route
    return [
        Seen(
            f"{gateway_id}-{route.deployment_id}-starting-{number}",
            route.deployment_id,
            route.config.memory,
            InstanceState.STARTING.value,
        )
        for number in range(fleet.starting)
    ]
