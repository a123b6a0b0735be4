"""The first administrator: a link printed once, good until there is one.

No default password, no race for an open sign-up page: who reads the server's log or
its data directory may claim the installation, nobody else.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import User
from django.db import transaction
from django.urls import reverse

from zerverless_site.secrets import read_or_create


def is_open() -> bool:
    """Whether there is no administrator yet."""
    return not User.objects.filter(is_superuser=True).exists()


def link() -> str | None:
    """The whole set-up address, or None when there is an administrator already."""
    if not is_open():
        _file().unlink(missing_ok=True)
        return None
    query = urlencode({"token": read_or_create(_file())})
    return f"{settings.ZERVERLESS_BASE_URL}{reverse('setup')}?{query}"


def is_token(given: str) -> bool:
    """Whether `given` is the token of the link; compared in constant time."""
    try:
        expected = _file().read_text().strip()
    except FileNotFoundError:
        return False
    return secrets.compare_digest(given.encode(), expected.encode())


class AdministratorForm(UserCreationForm):  # type: ignore[type-arg]
    """Name and password of the first administrator, under the usual rules."""

    class Meta(UserCreationForm.Meta):
        model = User
        fields = ("username",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name = self.fields["username"]
        name.label, name.help_text = "Name", ""
        name.initial = settings.ZERVERLESS_ADMIN_USERNAME
        first, again = self.fields["password1"], self.fields["password2"]
        first.help_text = "At least 8 characters, and not one of the common ones."
        again.label, again.help_text = "Repeat password", ""


def claim(token: str, form: AdministratorForm) -> User | None:
    """Make the administrator; None when another request used the link first."""
    if not is_token(token):
        return None
    try:
        # Removing the file is what only one of two racing requests can do.
        _file().unlink()
    except FileNotFoundError:
        return None
    with transaction.atomic():
        user: User = form.save(commit=False)
        user.is_staff = user.is_superuser = True
        user.save()
    return user


def _file() -> Path:
    path: Path = settings.DATA_DIR / "setup-token"
    return path
