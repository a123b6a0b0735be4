"""What Git says should exist: applications, their revisions, functions and syncs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from applications import names, repository
from applications.connection_test import ConnectionTest as ConnectionTest
from applications.errors import UserError
from applications.work import Work, WorkQuerySet

LEAST_SECONDS = 10.0  # for the Git commands of a sync that was attempted before
POLL_INTERVAL_MIN = 10  # seconds; more often is an attack on the server


class SyncStatus(models.TextChoices):
    """What we know of Git against what is deployed; not the state of any work."""

    SYNCED = "synced"
    OUT_OF_SYNC = "out_of_sync"
    UNKNOWN = "unknown"


def _validate_url(value: str) -> None:
    try:
        repository.check_url(value)
    except UserError as error:
        raise ValidationError(error.message, code=error.code) from error


class ApplicationQuerySet(models.QuerySet["Application"]):
    """Applications in the words of the poller and the pages."""

    def present(self) -> ApplicationQuerySet:
        """All that nobody removed."""
        return self.filter(removed_at__isnull=True)

    def due(self) -> ApplicationQuerySet:
        """Those whose next poll is due now."""
        return self.present().filter(next_poll_at__lte=timezone.now())

    def named(self, full_name: str) -> Application:
        """The application `namespace/name`; raises Application.DoesNotExist."""
        namespace, _, name = full_name.partition("/")
        return self.present().get(namespace=namespace, name=name)


class Application(models.Model):
    """One Git repository, branch and manifest path that we track."""

    namespace = models.CharField(max_length=63, validators=[names.validate_namespace])
    name = models.CharField(max_length=63, validators=[names.validate_name])
    repo_url = models.CharField(
        "repository URL", max_length=500, validators=[_validate_url]
    )
    branch = models.CharField(
        max_length=200, default="main", validators=[names.validate_branch]
    )
    manifest_path = models.CharField(
        max_length=200,
        default="zerverless.yaml",
        validators=[names.validate_repository_path],
    )
    poll_interval = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(POLL_INTERVAL_MIN)],
        help_text="Seconds; empty means the setting's default.",
    )
    auto_deploy = models.BooleanField(
        default=True, help_text="Deploy what a poll finds, without a click."
    )
    status = models.CharField(
        max_length=12, choices=SyncStatus.choices, default=SyncStatus.UNKNOWN
    )
    head_sha = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    # Out of sight at once; the row goes when its images are gone (runtime/cleanup.py).
    removed_at = models.DateTimeField(null=True, blank=True, editable=False)
    next_poll_at = models.DateTimeField(default=timezone.now, editable=False)
    # Why the commit `head_sha` cannot be deployed, where its author has to change it.
    head_error_code = models.CharField(max_length=60, blank=True, editable=False)
    head_error = models.TextField(blank=True, editable=False)
    checked_at = models.DateTimeField(null=True, blank=True, editable=False)
    poll_failures = models.PositiveIntegerField(default=0, editable=False)
    poll_error_code = models.CharField(max_length=60, blank=True, editable=False)
    poll_error = models.TextField(blank=True, editable=False)

    objects = ApplicationQuerySet.as_manager()

    class Meta:
        ordering = ["namespace", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["namespace", "name"],
                condition=models.Q(removed_at__isnull=True),
                name="application_name_in_namespace",
                violation_error_message="This namespace has an application of that "
                "name already.",
            ),
            models.CheckConstraint(
                condition=models.Q(namespace__regex=names.NAME_PATTERN),
                name="application_namespace_is_a_name",
            ),
            models.CheckConstraint(
                condition=models.Q(name__regex=names.NAME_PATTERN),
                name="application_name_is_a_name",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        # Admin, commands and shell alike: no row gets past the validators.
        if kwargs.get("update_fields") is None:
            self.full_clean()
            self._forget_commit_of_another_source()
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return reverse("application", args=[self.namespace, self.name])

    def clean(self) -> None:
        """Refuse a taken name on the field. A form leaves `removed_at` out, and then
        Django does not check the constraint, which would end as a server error."""
        others = Application.objects.present().exclude(pk=self.pk)
        taken = others.filter(namespace=self.namespace, name=self.name).exists()
        if taken and self.removed_at is None:
            message = "This namespace has an application of that name already."
            raise ValidationError({"name": message})

    def _forget_commit_of_another_source(self) -> None:
        """Have the next poll look anew where a person changed what is looked at."""
        source = ("repo_url", "branch", "manifest_path")
        before = Application.objects.filter(pk=self.pk).values(*source).first()
        if before and any(before[name] != getattr(self, name) for name in source):
            self.head_sha = self.head_error = self.head_error_code = ""
            self.poll_error = self.poll_error_code = ""
            self.poll_failures, self.next_poll_at = 0, timezone.now()

    @property
    def interval(self) -> int:
        """Seconds between polls."""
        return self.poll_interval or settings.ZERVERLESS_POLL_INTERVAL


class Revision(models.Model):
    """One observed commit, with the manifest it carries. Never edited."""

    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="revisions"
    )
    sha = models.CharField(max_length=64)
    author = models.CharField(max_length=200, blank=True)
    subject = models.CharField(max_length=500, blank=True)
    committed_at = models.DateTimeField(null=True, blank=True)
    observed_at = models.DateTimeField(auto_now_add=True)
    manifest = models.TextField(blank=True)
    problems = models.JSONField(default=list, blank=True)
    warnings = models.JSONField(default=list, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["application", "sha"], name="revision_of_application"
            )
        ]

    def __str__(self) -> str:
        return self.short_sha

    @property
    def short_sha(self) -> str:
        return self.sha[:7]


class FunctionQuerySet(models.QuerySet["Function"]):
    """Functions in the words of the pages."""

    def declared(self) -> FunctionQuerySet:
        return self.filter(retired_at__isnull=True)


class Function(models.Model):
    """One declared callable; `namespace` + `path` is its URL, in one application."""

    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="functions"
    )
    namespace = models.CharField(max_length=63)
    path = models.CharField(max_length=200, help_text="Begins with a slash.")
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    objects = FunctionQuerySet.as_manager()

    class Meta:
        ordering = ["namespace", "path"]
        constraints = [
            models.UniqueConstraint(
                fields=["namespace", "path"],
                condition=models.Q(retired_at__isnull=True),
                name="function_path_claimed_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.namespace}{self.path}"

    def get_absolute_url(self) -> str:
        return reverse("function", args=[self.namespace, self.path.lstrip("/")])

    @property
    def url_path(self) -> str:
        """Where the function answers, below the functions host."""
        return f"/{self.namespace}{self.path}"


class SyncQuerySet(WorkQuerySet):
    """What every kind of work can do, and that a removed application needs none."""

    def unwanted(self) -> Q:
        removed = Application.objects.filter(removed_at__isnull=False)
        return Q(Exists(removed.filter(pk=OuterRef("application_id"))))


class Sync(Work):
    """One attempt to bring what is live to what a commit says."""

    class Trigger(models.TextChoices):
        POLL = "poll"
        MANUAL = "manual"
        COMMAND = "command"
        REPAIR = "repair"

    application = models.ForeignKey(
        Application, on_delete=models.CASCADE, related_name="syncs"
    )
    revision = models.ForeignKey(
        Revision, null=True, blank=True, on_delete=models.SET_NULL, related_name="syncs"
    )
    trigger = models.CharField(max_length=10, choices=Trigger.choices)
    requested_by = models.CharField(max_length=150, blank=True)
    plan = models.JSONField(default=list, blank=True)

    objects = SyncQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["application"],
                condition=models.Q(state="running"),
                name="one_running_sync_per_application",
            )
        ]

    def __str__(self) -> str:
        return f"sync {self.pk} of {self.application}"

    @property
    def deadline(self) -> datetime:
        """When no further attempt begins: together they have one command's time."""
        return self.queued_at + timedelta(seconds=settings.ZERVERLESS_GIT_TIMEOUT)

    @property
    def time_left(self) -> float:
        """Seconds for an attempt's Git commands; of later attempts, what is left."""
        if self.attempt <= 1:
            return float(settings.ZERVERLESS_GIT_TIMEOUT)
        left = (self.deadline - timezone.now()).total_seconds()
        return max(LEAST_SECONDS, left)

    def get_absolute_url(self) -> str:
        return reverse("sync", args=[self.pk])

    @property
    def started_by(self) -> str:
        """The person, or what else caused it: `ana`, `CLI`, `poll`, `repair`."""
        causes = {"command": "CLI", "manual": "a person"}
        return self.requested_by or causes.get(self.trigger, self.trigger)
