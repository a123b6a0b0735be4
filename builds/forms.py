"""The form of credentials at a registry: the dashboard's, and the command's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from builds import credentials, engine_registry, references
from builds.client import Login
from builds.errors import BuildEngineError
from builds.models import Registry, RegistryCredential

_PASSWORD_MAX = 16 * 1024  # some registries' passwords are signed documents


class CredentialForm(forms.Form):
    """A password goes in here, and never comes out."""

    host = forms.CharField(
        label="Registry",
        max_length=300,
        help_text="For example registry.example.org:5000, or docker.io.",
    )
    namespace = forms.CharField(
        required=False,
        max_length=63,
        validators=RegistryCredential._meta.get_field("namespace").validators,
        help_text="Whose builds may use it. Empty: everybody's.",
    )
    username = forms.CharField(
        label="User name",
        max_length=255,
        validators=RegistryCredential._meta.get_field("username").validators,
    )
    password = forms.CharField(
        max_length=_PASSWORD_MAX,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Or an access token. Stored encrypted, and never shown again.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs["aria-describedby"] = f"about_{name}"
            field.widget.attrs.update(autocapitalize="none", spellcheck="false")

    def clean_host(self) -> str:
        """The host in its one spelling."""
        host = references.registry(self.cleaned_data["host"])
        Registry._meta.get_field("host").run_validators(host)
        return host

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if not password.isprintable():
            raise ValidationError("Must not hold control characters or line ends.")
        return password

    def check_with_registry(self) -> str:
        """Log in once; a sentence when the registry cannot be asked. An error of the
        form when it says no."""
        login = Login(
            self.cleaned_data["host"],
            self.cleaned_data["username"],
            self.cleaned_data["password"],
        )
        try:
            if said := engine_registry.login_problem(login):
                self.add_error("password", f"{login.host} does not take it: {said}")
        except BuildEngineError as error:
            return error.message
        return ""

    def save(self) -> None:
        """Store what is valid."""
        credentials.store(**self.cleaned_data)
