"""Who may see which page, and by which method."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.loader import get_template
from django.test import Client
from django.urls import get_resolver, reverse

from tests.fixtures.pages import PASSWORD, World, make_instance, make_world

PAGES = [
    "overview",
    "applications",
    "application_new",
    "application",
    "application_edit",
    "application_delete",
    "sync",
    "build",
    "build_log_raw",
    "functions",
    "function",
    "function_instance",
    "activity",
    "system",
    "registries",
]
FRAGMENTS = [
    "overview_part",
    "activity_part",
    "applications_part",
    "functions_part",
    "application_part",
    "sync_part",
    "build_part",
    "function_part",
    "traffic_part",
    "instances_part",
    "instance_logs",
    "connection_part",
]
POST_ONLY = [
    "application_sync",
    "build_cancel",
    "theme",
    "logout",
    "connection_result",
    "registry_remove",
]
OPEN = {"login", "setup", "theme", "schema", "function_call"}


@pytest.fixture
def world(pages: None) -> World:
    return make_world()


def address(name: str, world: World) -> str:
    """The URL of a page about the world's rows."""
    about = [world.application.namespace, world.application.name]
    if name in {"sync", "sync_part"}:
        return reverse(name, args=[world.sync.pk])
    if name == "function":
        return world.function.get_absolute_url()
    if name in {"function_instance", "instance_logs"}:
        return reverse(name, args=[make_instance(world.deployment).pk])
    if name in {"function_part", "traffic_part", "instances_part"}:
        return reverse(name, args=[world.function.pk])
    if name == "application_part":
        return reverse(name, args=[world.application.pk])
    if name in {"registry_remove", "connection_part"}:
        return reverse(name, args=[1])
    if name.startswith("build"):
        return reverse(name, args=[world.build.pk])
    if name.startswith("application") and name not in {
        "applications",
        "applications_part",
        "application_new",
    }:
        return reverse(name, args=about)
    return reverse(name)


def test_every_address_is_in_one_of_the_tables() -> None:
    names = {
        entry.name
        for pattern in get_resolver().url_patterns
        for entry in _named(pattern)
        if not getattr(entry, "app_name", None)
    }
    assert names - {None} == {*PAGES, *FRAGMENTS, *POST_ONLY, *OPEN}


def _named(pattern: Any) -> list[Any]:
    if getattr(pattern, "app_name", None):
        return []  # Django's admin has its own tests
    children = getattr(pattern, "url_patterns", None)
    if children is None:
        return [pattern]
    return [entry for child in children for entry in _named(child)]


@pytest.mark.parametrize("name", PAGES)
def test_a_user_sees_the_page(dashboard: Client, world: World, name: str) -> None:
    response = dashboard.get(address(name, world))
    assert response.status_code == 200
    assert b"Traceback" not in b"".join(response)


@pytest.mark.parametrize("name", [*PAGES, *FRAGMENTS])
def test_a_visitor_is_asked_to_log_in(visitor: Client, world: World, name: str) -> None:
    response = visitor.get(address(name, world), headers={"HX-Request": "true"})
    assert response.status_code == 302
    assert response.headers["Location"].startswith(reverse("login"))


@pytest.mark.parametrize("name", FRAGMENTS)
def test_a_fragment_is_not_a_page(dashboard: Client, world: World, name: str) -> None:
    """Threat 91: nothing keeps a copy, and a tab never holds half a page."""
    assert dashboard.get(address(name, world)).status_code == 404
    response = dashboard.get(address(name, world), headers={"HX-Request": "true"})
    assert response.status_code == 200
    assert b"<html" not in response.content
    assert response.headers["Cache-Control"] == "no-store"
    assert "HX-Request" in response.headers["Vary"]


@pytest.mark.parametrize("name", FRAGMENTS)
def test_what_the_browser_shows_already_is_not_sent_again(
    dashboard: Client, world: World, name: str
) -> None:
    htmx = {"HX-Request": "true"}
    first = dashboard.get(address(name, world), headers=htmx)
    seen = {"seen": first.context["version"], "after": 3}
    again = dashboard.get(address(name, world), seen, headers=htmx)
    assert again.status_code == 204


@pytest.mark.parametrize("name", POST_ONLY)
def test_nothing_changes_by_get(dashboard: Client, world: World, name: str) -> None:
    """Threat 86."""
    response = dashboard.get(address(name, world), headers={"HX-Request": "true"})
    assert response.status_code == 405


@pytest.mark.parametrize(
    "name", [*POST_ONLY, "application_delete", "application_edit", "application_new"]
)
def test_a_post_needs_the_token(visitor: Client, world: World, name: str) -> None:
    """Threat 86."""
    visitor.force_login(_user())
    response = visitor.post(address(name, world), headers={"HX-Request": "true"})
    assert response.status_code == 403


def _user() -> User:
    return User.objects.create_user("mallory", password=PASSWORD)


@pytest.mark.parametrize("name", ["overview", "build", "build_log_raw", "login"])
def test_pages_carry_the_security_headers(
    dashboard: Client, world: World, name: str
) -> None:
    """Threats 85 and 91."""
    headers = dashboard.get(address(name, world)).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "no-store" in headers["Cache-Control"]


@pytest.mark.parametrize("name", PAGES)
def test_no_page_needs_an_inline_script_or_style(
    dashboard: Client, world: World, name: str
) -> None:
    """Threat 85: the policy would block them."""
    body = b"".join(dashboard.get(address(name, world))).decode()
    assert "<style" not in body
    assert ' style="' not in body
    assert "<script>" not in body
    assert ' onclick="' not in body


def test_the_roots_lead_to_the_dashboard(visitor: Client) -> None:
    assert visitor.get("/").headers["Location"] == "/-/"
    assert visitor.get("/admin").headers["Location"] == "/-/admin/"


def test_logging_in_leads_where_one_wanted_to_go(visitor: Client, world: World) -> None:
    visitor.handler.enforce_csrf_checks = False
    wanted = address("build", world)
    _user()
    credentials = {"username": "mallory", "password": PASSWORD}
    response = visitor.post(f"{reverse('login')}?next={wanted}", credentials)
    assert response.headers["Location"] == wanted


def test_logging_in_never_leads_to_another_host(visitor: Client) -> None:
    visitor.handler.enforce_csrf_checks = False
    _user()
    credentials = {"username": "mallory", "password": PASSWORD}
    evil = f"{reverse('login')}?next=https://evil.example/"
    assert visitor.post(evil, credentials).headers["Location"] == "/-/"
    told = {"theme": "dark", "next": "//evil.example/"}
    assert visitor.post(reverse("theme"), told).headers["Location"] == "/-/"


def test_an_unknown_address_says_so(dashboard: Client) -> None:
    response = dashboard.get("/-/builds/999999")
    assert response.status_code == 404
    assert b"To the overview" in response.content


@pytest.mark.parametrize("page", ["400.html", "403.html", "404.html", "500.html"])
def test_error_pages_need_neither_request_nor_database(page: str, pages: None) -> None:
    assert "To the overview" in get_template(page).render()


def test_an_expired_form_says_what_to_do(visitor: Client) -> None:
    response = visitor.post(reverse("login"), {"username": "ana"})
    assert response.status_code == 403
    assert b"This form has expired" in response.content


def test_the_theme_is_kept_in_a_cookie_of_the_dashboard(dashboard: Client) -> None:
    told = {"theme": "dark", "next": reverse("system")}
    response = dashboard.post(reverse("theme"), told)
    assert response.headers["Location"] == reverse("system")
    assert response.cookies["zerverless_theme"]["path"] == "/-/"
    assert b'data-theme="dark"' in dashboard.get(reverse("overview")).content
    dashboard.post(reverse("theme"), {"theme": "system"})
    assert b"data-theme" not in dashboard.get(reverse("overview")).content
