"""Django's admin: history is read only, and the queue is out of reach."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from applications.models import Application
from tests.fixtures.pages import make_world
from tests.fixtures.rows import make_application

HISTORY = [
    "applications_function",
    "applications_revision",
    "applications_sync",
    "applications_cluster",
    "builds_build",
    "builds_buildlogchunk",
    "builds_registry",
    "builds_registrycredential",
    "runtime_deployment",
    "runtime_invocation",
    "runtime_gateway",
    "runtime_installation",
    "runtime_instance",
    "runtime_trafficminute",
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


@pytest.mark.parametrize(
    ("field", "value"),
    [("namespace", "-"), ("repo_url", "file:///etc"), ("branch", "-x")],
)
def test_an_edit_in_the_admin_changes_nothing_for_the_worse(
    admin_pages: Client, settings: Any, field: str, value: str
) -> None:
    """Threats 16 and 88."""
    settings.ZERVERLESS_GIT_PROTOCOLS = ["https"]
    application = make_world().application
    address = reverse("admin:applications_application_change", args=[application.pk])
    form = admin_pages.get(address).context["adminform"].form
    values = {name: form[name].value() or "" for name in form.fields}
    admin_pages.post(address, {**values, field: value})
    before = getattr(application, field)
    application.refresh_from_db()
    assert getattr(application, field) == before


@pytest.mark.parametrize("field", ["namespace", "repo_url", "branch", "manifest_path"])
@pytest.mark.django_db
def test_a_row_from_the_shell_is_validated_too(field: str) -> None:
    """Threats 16 and 88."""
    with pytest.raises(ValidationError) as caught:
        make_application(**{field: "file:///../x"})
    assert list(caught.value.message_dict) == [field]


@pytest.mark.django_db
def test_the_database_itself_refuses_a_namespace_that_is_no_name() -> None:
    """Threats 7 and 88: also by UPDATE, past every validator."""
    make_application()
    for value in ("Alice", "-", "a\n", "\u0661", "a/b", ""):
        with pytest.raises(IntegrityError), transaction.atomic():
            Application.objects.update(namespace=value)


@pytest.mark.parametrize("model", ["task", "ormq", "schedule", "success", "failure"])
def test_the_queue_has_no_page(admin_pages: Client, model: str) -> None:
    """Threat 88."""
    assert admin_pages.get(f"/-/admin/django_q/{model}/").status_code == 404
    assert admin_pages.post(f"/-/admin/django_q/{model}/add/").status_code == 404


def test_removing_goes_through_the_dashboard(admin_pages: Client) -> None:
    application = make_world().application
    address = reverse("admin:applications_application_delete", args=[application.pk])
    assert admin_pages.post(address, {"post": "yes"}).status_code == 403


def test_an_ordinary_user_has_no_admin(dashboard: Client) -> None:
    assert dashboard.get(reverse("admin:index")).status_code == 302
