"""Builds with their logs, and the registries whose images builds may start from."""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from applications import encryption, names
from applications.models import Function, Revision, Sync
from applications.work import State, Work, WorkQuerySet
from builds import references


class BuildQuerySet(WorkQuerySet):
    """Builds in the words of the queue, the cache and the cleanup."""

    def unwanted(self) -> Q:
        """Cancelled, superseded, or of what is not there any more."""
        gone = Q(retired_at__isnull=False) | Q(application__removed_at__isnull=False)
        functions = Function.objects.filter(gone, pk=OuterRef("function_id"))
        return Q(cancel_requested_at__isnull=False) | Q(Exists(functions))

    def with_image(self) -> BuildQuerySet:
        """Succeeded builds whose image has not been pruned."""
        return self.filter(
            state=State.SUCCEEDED, image_removed_at__isnull=True
        ).exclude(image_id="")

    def awaiting_activation(self) -> BuildQuerySet:
        """Succeeded, but the process died before the deployment was made."""
        return self.with_image().filter(
            deployments__isnull=True,
            function__retired_at__isnull=True,
            finished_at__gt=timezone.now() - timedelta(hours=1),
        )


class Build(Work):
    """One image for one function. `key` digests its inputs: equal key, equal image."""

    function = models.ForeignKey(
        Function, on_delete=models.CASCADE, related_name="builds"
    )
    revision = models.ForeignKey(
        Revision, on_delete=models.RESTRICT, related_name="builds"
    )
    sync = models.ForeignKey(
        Sync, null=True, on_delete=models.SET_NULL, related_name="builds"
    )
    # Later syncs that found this build on its way and left it: its end is theirs too.
    awaited_by = models.ManyToManyField(Sync, related_name="awaited", blank=True)
    # Syncs are numbered in the order commits were asked for; an older one finishing
    # late must not replace a newer one, even after the Sync row was cleaned up.
    order = models.PositiveBigIntegerField(default=0, editable=False)
    key = models.CharField(max_length=64, db_index=True)
    spec = models.JSONField(default=dict)
    reused_from = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="reuses"
    )
    # A running build holds a slot; the constraint below is the concurrency limit.
    slot = models.PositiveSmallIntegerField(null=True, blank=True, editable=False)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancelled_by = models.CharField(max_length=150, blank=True)
    failed_step = models.CharField(max_length=500, blank=True)
    image_tag = models.CharField(max_length=300, blank=True)
    image_id = models.CharField(max_length=80, blank=True, db_index=True)
    image_size = models.PositiveBigIntegerField(null=True, blank=True)
    image_removed_at = models.DateTimeField(null=True, blank=True)
    # Decided with the image, so that going live needs no word with Docker.
    port = models.PositiveIntegerField(
        null=True, blank=True, help_text="Where it serves; empty: once per request."
    )
    log_lines = models.PositiveIntegerField(default=0, editable=False)

    objects = BuildQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["slot"],
                condition=models.Q(state="running"),
                name="one_running_build_per_slot",
            ),
            models.UniqueConstraint(
                fields=["function", "sync"], name="one_build_per_function_and_sync"
            ),
        ]

    def __str__(self) -> str:
        return f"build {self.pk} of {self.function}"

    def get_absolute_url(self) -> str:
        return reverse("build", args=[self.pk])


class BuildLogChunk(models.Model):
    """Some consecutive log lines. Line numbers are 1-based and never change."""

    build = models.ForeignKey(Build, on_delete=models.CASCADE, related_name="chunks")
    first_line = models.PositiveIntegerField()
    line_count = models.PositiveIntegerField()
    text = models.TextField(help_text="Lines joined by newlines, without a final one.")

    class Meta:
        ordering = ["first_line"]
        constraints = [
            models.UniqueConstraint(
                fields=["build", "first_line"], name="log_line_written_once"
            )
        ]

    def __str__(self) -> str:
        return f"lines {self.first_line}+{self.line_count} of build {self.build_id}"


def _validate_host(value: str) -> None:
    if problem := references.registry_problem(value):
        raise ValidationError(f"{problem[0].upper()}{problem[1:]}.")


def _validate_username(value: str) -> None:
    if ":" in value or not value.isprintable():
        raise ValidationError("Must not hold colons or control characters.")


class Registry(models.Model):
    """A host that images come from, and that has or once had credentials here.

    It stays when its credentials go: what was fetched with them may still be on the
    Docker host, and who asks for it is still asked what the registry lets them see.
    """

    host = models.CharField(max_length=255, unique=True, validators=[_validate_host])

    class Meta:
        ordering = ["host"]
        verbose_name_plural = "registries"

    def __str__(self) -> str:
        return self.host


class RegistryCredential(models.Model):
    """A user's name and password at a registry, for the builds of one namespace.

    An empty namespace is the whole installation; a namespace's own come first.
    """

    registry = models.ForeignKey(
        Registry, on_delete=models.CASCADE, related_name="credentials"
    )
    namespace = models.CharField(
        max_length=63,
        blank=True,
        validators=[names.validate_namespace],
        help_text="Whose builds may use it; empty: everybody's.",
    )
    username = models.CharField(max_length=255, validators=[_validate_username])
    encrypted_password = models.TextField(editable=False)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["registry__host", "namespace"]
        constraints = [
            models.UniqueConstraint(
                fields=["registry", "namespace"],
                name="one_credential_per_registry_and_namespace",
            )
        ]

    def __str__(self) -> str:
        whose = f"namespace {self.namespace}" if self.namespace else "everybody"
        return f"{self.registry} for {whose}"

    @property
    def password(self) -> str:
        """What was entered. Raises Undecipherable when the key for it is gone."""
        return encryption.decrypt(self.encrypted_password)

    @password.setter
    def password(self, value: str) -> None:
        self.encrypted_password = encryption.encrypt(value)
