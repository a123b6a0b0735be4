"""Makes a declared path a Function: claimed once, by one application."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from applications.errors import UserError
from applications.models import Application, Function


def function(application: Application, path: str) -> Function:
    """Ensure the application owns the function at `path`, with its earlier history.

    Raises UserError where another application of the namespace has claimed the path, or
    this one was removed meanwhile.
    """
    if not Application.objects.present().filter(pk=application.pk).exists():
        raise UserError("The application was removed.", "application:removed")
    mine = Function.objects.filter(application=application, path=path).first()
    try:
        with transaction.atomic():
            if mine is None:
                return Function.objects.create(
                    application=application, namespace=application.namespace, path=path
                )
            if mine.retired_at is not None:
                mine.retired_at = None
                mine.save(update_fields=["retired_at"])
            return mine
    except IntegrityError as error:
        owner = (
            Function.objects.declared()
            .filter(namespace=application.namespace, path=path)
            .first()
        )
        raise UserError(
            f"The path {path} in {application.namespace} belongs to "
            f"{owner.application if owner else 'another application'}: "
            "choose another path, or remove it there first.",
            "function:claimed",
        ) from error
