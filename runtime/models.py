"""What is live: deployments, the requests they served, and the gateways that serve."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.db import models
from django.utils import timezone

from applications.models import Function
from builds.models import Build

# A gateway writes a heartbeat every few seconds; without one for this long it is dead.
GATEWAY_DEAD = timedelta(seconds=45)


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    """Deployments in the words of the gateway and the pages."""

    def live(self) -> DeploymentQuerySet:
        return self.filter(is_live=True)


class Deployment(models.Model):
    """A function bound to one image and its configuration; at most one is live."""

    function = models.ForeignKey(
        Function, on_delete=models.CASCADE, related_name="deployments"
    )
    build = models.ForeignKey(
        Build, on_delete=models.RESTRICT, related_name="deployments"
    )
    number = models.PositiveIntegerField(help_text="v1, v2, … of this function.")
    image_id = models.CharField(max_length=80)
    image_tag = models.CharField(max_length=300)
    commit = models.CharField(max_length=64)
    config = models.JSONField(default=dict)
    is_live = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    superseded_at = models.DateTimeField(null=True, blank=True)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["function"],
                condition=models.Q(is_live=True),
                name="one_live_deployment_per_function",
            ),
            models.UniqueConstraint(
                fields=["function", "number"], name="deployment_number_of_function"
            ),
            models.UniqueConstraint(fields=["build"], name="deployed_once_per_build"),
        ]

    def __str__(self) -> str:
        return f"{self.function} v{self.number}"


class Invocation(models.Model):
    """One request a function served, written in batches after the answer left."""

    id = models.CharField(primary_key=True, max_length=32)
    function = models.ForeignKey(
        Function, on_delete=models.CASCADE, related_name="invocations"
    )
    deployment = models.ForeignKey(
        Deployment, null=True, on_delete=models.SET_NULL, related_name="invocations"
    )
    started_at = models.DateTimeField(db_index=True)
    method = models.CharField(max_length=20)
    path = models.CharField(max_length=500)
    status = models.PositiveSmallIntegerField()
    error_code = models.CharField(max_length=20, blank=True)
    error = models.CharField(max_length=500, blank=True)
    duration_ms = models.FloatField()
    phases = models.JSONField(default=dict, help_text="Milliseconds by phase.")
    exit_code = models.IntegerField(null=True)
    request_bytes = models.PositiveBigIntegerField(default=0)
    response_bytes = models.PositiveBigIntegerField(default=0)
    stderr = models.TextField(blank=True, help_text="The last lines of it.")

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["function", "-started_at"])]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.status}"


class Gateway(models.Model):
    """One gateway process; its containers carry its id. No heartbeat: it is dead."""

    id = models.CharField(primary_key=True, max_length=16)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(default=timezone.now)
    heartbeat_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"gateway {self.id}"


class InstanceState(models.TextChoices):
    """Where an instance stands between its start and its end."""

    STARTING = "starting"
    READY = "ready"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    ENDING = "ending"


class InstanceQuerySet(models.QuerySet["Instance"]):
    """Instances in the words of the pages."""

    def present(self) -> InstanceQuerySet:
        """Without those of a gateway that was killed, and could not take them back."""
        return self.filter(gateway__heartbeat_at__gt=timezone.now() - GATEWAY_DEAD)


class Instance(models.Model):
    """A running container of a deployment, as its gateway saw it a moment ago.

    For people to look at: the gateway itself never reads it.
    """

    name = models.CharField(primary_key=True, max_length=120)
    gateway = models.ForeignKey(
        Gateway, on_delete=models.CASCADE, related_name="instances"
    )
    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="instances"
    )
    state = models.CharField(max_length=10, choices=InstanceState.choices)
    in_flight = models.PositiveIntegerField(default=0)
    memory = models.PositiveBigIntegerField(help_text="Its limit, in bytes.")
    started_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    cold_ms = models.FloatField(null=True, help_text="Milliseconds until ready.")

    objects = InstanceQuerySet.as_manager()

    class Meta:
        ordering = ["started_at"]

    def __str__(self) -> str:
        return self.name

    @property
    def short_name(self) -> str:
        """What tells it from others of its gateway."""
        return self.name.rpartition("-")[2].removeprefix("server")


class TrafficMinute(models.Model):
    """What one process counted of a function's requests within one minute.

    Several processes have several rows of a minute: whoever reads adds them up.
    """

    function = models.ForeignKey(
        Function,
        on_delete=models.CASCADE,
        related_name="traffic",
        db_index=False,  # the constraint's index begins with it
    )
    minute = models.PositiveIntegerField(help_text="Minutes since 1970, UTC.")
    counted_by = models.CharField(
        max_length=16, help_text="The random name of a process."
    )
    requests = models.PositiveBigIntegerField()
    redirects = models.PositiveBigIntegerField(help_text="3xx.")
    client_errors = models.PositiveBigIntegerField(help_text="4xx, and clients gone.")
    function_errors = models.PositiveBigIntegerField(help_text="Its own 5xx.")
    platform_errors = models.PositiveBigIntegerField(help_text="Our 5xx and 429.")
    cold_starts = models.PositiveBigIntegerField()
    cold_seconds = models.FloatField(help_text="All cold starts together.")
    seconds = models.FloatField(help_text="All requests together.")
    durations = models.JSONField(help_text="See runtime/histogram.py.")

    class Meta:
        ordering = ["minute"]
        constraints = [
            models.UniqueConstraint(
                fields=["function", "minute", "counted_by"],
                name="traffic_minute_written_once",
            )
        ]
        indexes = [models.Index(fields=["minute"])]

    def __str__(self) -> str:
        return f"minute {self.minute} of function {self.function_id}"


class Installation(models.Model):
    """One row: tells this installation's objects from others on the same daemon."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    name = models.CharField(max_length=16, default="")
    # Raised with every change of what is live; gateways compare it twice a second.
    routes_version = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(id=1), name="one_installation_per_database"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def current(cls) -> Installation:
        """The one row, made at the first call."""
        row, _ = cls.objects.get_or_create(
            pk=1, defaults={"name": secrets.token_hex(6)}
        )
        return row
