"""Credentials for registries: the commands and the page; no way shows a password."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from builds.models import Registry, RegistryCredential
from tests.fixtures.registry import ALICE, PrivateRegistry


def add(monkeypatch: pytest.MonkeyPatch, password: str, **options: Any) -> str:
    """What add_registry says, with a password on standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    values = {"host": "r.example", "username": "ann", "namespace": "", **options}
    said = io.StringIO()
    call_command("add_registry", stdout=said, stderr=said, **values)
    return said.getvalue()


@pytest.mark.django_db
def test_the_command_stores_lists_and_removes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threat 151: the password comes by standard input and goes nowhere else."""
    said = add(monkeypatch, "a secret", host="https://R.Example/", no_check=True)
    add(monkeypatch, "another", namespace="alice", no_check=True)
    row = RegistryCredential.objects.get(namespace="")
    assert (row.registry.host, row.password) == ("r.example", "a secret")
    listed = io.StringIO()
    call_command("list_registries", json=True, stdout=listed)
    assert [(r["host"], r["namespace"]) for r in json.loads(listed.getvalue())] == [
        ("r.example", ""),
        ("r.example", "alice"),
    ]
    assert "secret" not in said + listed.getvalue()
    call_command("remove_registry", host="r.example", stderr=io.StringIO())
    assert [r.namespace for r in RegistryCredential.objects.all()] == ["alice"]
    assert Registry.objects.exists()
    with pytest.raises(CommandError, match="no credentials for r") as caught:
        call_command("remove_registry", host="r.example")
    assert caught.value.returncode == 4


@pytest.mark.django_db
def test_credentials_are_tried_before_they_are_stored(
    monkeypatch: pytest.MonkeyPatch, registry: PrivateRegistry
) -> None:
    with pytest.raises(CommandError, match=r"the password: .* does not take it"):
        add(monkeypatch, "wrong-password", host=registry.host, username="alice")
    assert not RegistryCredential.objects.exists()
    add(monkeypatch, ALICE, host=registry.host, username="alice")
    assert "Not tried: The registry 127.0.0.1:1 cannot" in add(
        monkeypatch, "any", host="127.0.0.1:1"
    )
    assert RegistryCredential.objects.count() == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", ""),
        ("host", "registry"),
        ("host", "r.example:0"),
        ("host", "r.example:99999"),
        ("host", "r_example.org"),
        ("host", "user@r.example"),
        ("host", "-r.example"),
        ("host", "r.exa\nmple"),
        ("namespace", "Admin"),
        ("namespace", "admin"),
        ("username", "a:b"),
        ("username", ""),
        ("password", ""),
        ("password", "two\x00words"),
    ],
)
@pytest.mark.django_db
def test_what_cannot_be_stored_is_named(
    field: str, value: str, dashboard: Client, user: Any
) -> None:
    user.is_staff = True
    user.save()
    data = {"host": "r.example", "username": "ann", "password": "word", field: value}
    response = dashboard.post(reverse("registries"), data)
    assert field in response.context["form"].errors
    assert b'value="word"' not in response.content
    assert not RegistryCredential.objects.exists()


def test_the_page_stores_and_removes_for_staff_alone(
    admin_pages: Client, dashboard: Client, registry: PrivateRegistry
) -> None:
    """Threats 150 and 151."""
    page = reverse("registries")
    data = {
        "host": registry.host,
        "namespace": "alice",
        "username": "alice",
        "password": ALICE,
    }
    assert dashboard.post(page, data).status_code == 403
    response = admin_pages.post(page, data, follow=True)
    assert f"Stored: {registry.host} takes them." in response.text
    for client in (admin_pages, dashboard):
        shown = client.get(page).text
        assert registry.host in shown
        assert ALICE not in shown
    row = RegistryCredential.objects.get()
    remove = reverse("registry_remove", args=[row.pk])
    assert dashboard.post(remove).status_code == 403
    admin_pages.post(remove)
    assert not RegistryCredential.objects.exists()
