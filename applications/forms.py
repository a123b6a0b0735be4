"""The form of an application, for adding one and for changing one."""

from __future__ import annotations

import re
from typing import Any

from django import forms

from applications import names
from applications.models import Application


def name_from_url(url: str) -> str:
    """A name proposed by the repository's URL; may be empty."""
    last = url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git").lower()
    return re.sub(r"[^a-z0-9]+", "-", last)[:63].strip("-")


class EditForm(forms.ModelForm):  # type: ignore[type-arg]
    """What may change later. Namespace and name are part of addresses and stay."""

    class Meta:
        model = Application
        fields = [
            "repo_url",
            "branch",
            "manifest_path",
            "poll_interval",
            "auto_deploy",
        ]
        labels = {
            "manifest_path": "Manifest",
            "poll_interval": "Seconds between polls",
            "auto_deploy": "Deploy new commits automatically",
        }
        help_texts = {
            "repo_url": "For example https://github.com/you/project.git",
            "namespace": "First part of every function's address.",
            "name": "Defaults to the repository name.",
            "manifest_path": "Path inside the repository.",
            "poll_interval": "Defaults to ZERVERLESS_POLL_INTERVAL.",
            "auto_deploy": "Otherwise new commits wait for Sync now.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs["aria-describedby"] = f"about_{name}"
            if isinstance(field.widget, forms.TextInput):
                field.widget.attrs.update(autocapitalize="none", spellcheck="false")
        self.fields["branch"].widget.attrs["list"] = "branches"
        self.fields["repo_url"].widget.attrs["inputmode"] = "url"


class AddForm(EditForm):
    """Everything about a new application; its name follows from the URL if left out."""

    class Meta(EditForm.Meta):
        fields = [
            "repo_url",
            "branch",
            "namespace",
            "name",
            "manifest_path",
            "auto_deploy",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].required = False

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not cleaned.get("name") and "name" not in self.errors:
            cleaned["name"] = name_from_url(cleaned.get("repo_url", ""))
            if problem := names.name_problem(cleaned["name"]):
                self.add_error("name", f"The name {problem}.")
        return cleaned
