"""A connection test: asked for by a page, done by the lane of Git work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models
from django.urls import reverse
from django.utils import timezone

from applications.work import State, Work, WorkQuerySet

KEPT = timedelta(hours=1)


class ConnectionTestQuerySet(WorkQuerySet):
    """Connection tests in the words of the pages and of the sweep."""

    def of(self, user: str) -> ConnectionTestQuerySet:
        return self.filter(asked_by=user)

    def superseded(self, user: str) -> ConnectionTestQuerySet:
        """Those of a user that did not begin: nobody waits for more than one."""
        return self.of(user).filter(state=State.QUEUED)

    def old(self) -> ConnectionTestQuerySet:
        """Those that nobody looks at any more."""
        return self.filter(queued_at__lt=timezone.now() - KEPT)


class ConnectionTest(Work):
    """One test of what a form says, and whether to save it when the test is good."""

    asked_by = models.CharField(max_length=150)
    form: Any = models.JSONField(default=dict)
    saves = models.BooleanField(default=False)
    result: Any = models.JSONField(default=dict)
    # The application whose form it is; of a new one there is none.
    edited = models.ForeignKey(
        "applications.Application", null=True, on_delete=models.CASCADE
    )
    saved = models.ForeignKey(
        "applications.Application",
        null=True,
        on_delete=models.CASCADE,
        related_name="+",
    )

    objects = ConnectionTestQuerySet.as_manager()

    def __str__(self) -> str:
        return f"connection test {self.pk}"

    def get_absolute_url(self) -> str:
        """The page with the form, filled in, and what the test found."""
        if self.edited:
            place = [self.edited.namespace, self.edited.name]
            return f"{reverse('application_edit', args=place)}?test={self.pk}"
        return f"{reverse('application_new')}?test={self.pk}"

    @property
    def namespace(self) -> str:
        return self.edited.namespace if self.edited else str(self.form["namespace"])
