"""Django's admin: history is read only, and the queue is out of reach."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from applications.models import Application
from tests.fixtures.pages import make_world

HISTORY = [
    "applications_function",
    "applications_revision",
    "applications_sync",
    "applications_cluster",
    "builds_build",
    "builds_buildlogchunk",
    "runtime_deployment",
    "runtime_invocation",
    "runtime_gateway",
    "runtime_installation",
]


def test_every_model_of_ours_is_there_and_none_of_the_queues() -> None:
    """Threat 88: who may edit the queue may run any function in a worker."""
    shown = {f"{m._meta.app_label}_{m._meta.model_name}" for m in admin.site._registry}
    assert shown - {"auth_user", "auth_group"} == {
        "applications_application",
        *HISTORY,
    }


@pytest.mark.parametrize("model", HISTORY)
def test_history_is_read_and_not_written(admin_pages: Client, model: str) -> None:
    """Threat 88."""
    make_world()
    assert admin_pages.get(reverse(f"admin:{model}_changelist")).status_code == 200
    assert admin_pages.get(reverse(f"admin:{model}_add")).status_code == 403


def test_a_build_can_be_looked_at_but_not_saved(admin_pages: Client) -> None:
    """Threat 88: an image id typed by hand must never run."""
    build = make_world().build
    address = reverse("admin:builds_build_change", args=[build.pk])
    assert admin_pages.get(address).status_code == 200
    assert admin_pages.post(address, {"image_id": "sha256:evil"}).status_code == 403


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("namespace", "admin"),
        ("namespace", "../x"),
        ("repo_url", "ext::sh -c id"),
        ("repo_url", "javascript:alert(1)"),
        ("branch", "--upload-pack=x"),
        ("manifest_path", "/etc/passwd"),
    ],
)
def test_the_admin_validates_as_the_form_does(
    admin_pages: Client, field: str, value: str
) -> None:
    """Threat 88."""
    values = {
        "namespace": "alice",
        "name": "app",
        "repo_url": "https://git.example/app.git",
        "branch": "main",
        "manifest_path": "zerverless.yaml",
    }
    address = reverse("admin:applications_application_add")
    response = admin_pages.post(address, {**values, field: value})
    assert field in response.context["adminform"].form.errors
    assert not Application.objects.exists()


def test_removing_goes_through_the_dashboard(admin_pages: Client) -> None:
    application = make_world().application
    address = reverse("admin:applications_application_delete", args=[application.pk])
    assert admin_pages.post(address, {"post": "yes"}).status_code == 403


def test_an_ordinary_user_has_no_admin(dashboard: Client) -> None:
    assert dashboard.get(reverse("admin:index")).status_code == 302
