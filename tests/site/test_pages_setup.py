"""The one-time link that makes the first administrator."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from zerverless_site import setup

PASSWORD = "a long and unusual sentence"
FORM = {"username": "ana", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture
def link(pages: None) -> str:
    """The path of the link."""
    address = setup.link()
    assert address is not None
    return address[address.index("/-/") :]


@pytest.fixture
def browser(pages: None) -> Client:
    return Client()


def test_the_link_makes_the_administrator_and_logs_in(
    browser: Client, link: str
) -> None:
    token = link.partition("token=")[2]
    assert browser.get(link).status_code == 200
    response = browser.post(reverse("setup"), {**FORM, "token": token})
    assert response.headers["Location"] == reverse("overview")
    assert User.objects.get().is_superuser
    assert browser.get(reverse("overview")).status_code == 200


def test_the_link_works_once(browser: Client, link: str) -> None:
    """Threat 87: no default credentials, and no open sign-up afterwards."""
    token = link.partition("token=")[2]
    browser.post(reverse("setup"), {**FORM, "token": token})
    again = {**FORM, "username": "eve", "token": token}
    response = Client().post(reverse("setup"), again)
    assert response.headers["Location"] == reverse("login")
    assert User.objects.count() == 1
    assert setup.link() is None


@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_a_wrong_token_makes_nobody(browser: Client, link: str, token: str) -> None:
    response = browser.post(reverse("setup"), {**FORM, "token": token})
    assert response.status_code == 403
    assert b"manage.py setup_link" in response.content
    assert not User.objects.exists()


def test_a_weak_password_keeps_the_link_good(browser: Client, link: str) -> None:
    token = link.partition("token=")[2]
    weak = {"username": "ana", "password1": "1234", "password2": "1234"}
    response = browser.post(reverse("setup"), {**weak, "token": token})
    assert b"errorlist" in response.content
    assert browser.get(link).status_code == 200


def test_only_one_of_two_racing_requests_gets_the_link(pages: None, link: str) -> None:
    token = link.partition("token=")[2]
    forms = [setup.AdministratorForm({**FORM, "username": name}) for name in "ab"]
    assert all(form.is_valid() for form in forms)
    made = [setup.claim(token, form) for form in forms]
    assert [user is not None for user in made] == [True, False]


def test_the_token_is_for_the_owners_eyes_only(
    link: str, settings: Any, tmp_path: Path
) -> None:
    assert (tmp_path / "setup-token").stat().st_mode & 0o777 == 0o600


def test_the_command_prints_the_same_link_until_it_is_used(link: str) -> None:
    output = StringIO()
    call_command("setup_link", stdout=output)
    assert output.getvalue().strip().endswith(link)
    User.objects.create_superuser("root")
    with pytest.raises(CommandError):
        call_command("setup_link")
