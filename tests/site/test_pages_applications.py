"""Adding, changing, syncing and removing an application, without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from applications.models import Application, ConnectionTest, Sync
from applications.work import State
from runtime.models import Deployment
from tests.fixtures.git import BadServer, Repository, run_git
from tests.fixtures.pages import make_world
from zerverless_site import pipeline

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata:
  name: my-app
  namespace: ana
spec:
  source:
    repoURL: https://git.example/my-app
    branch: main
  functions:
    - path: /api
      runtime: docker
      dockerfile: ./services/api/Dockerfile
      context: ./services/api
"""
FILES = {"zerverless.yaml": MANIFEST, "services/api/Dockerfile": "FROM busybox\n"}
NEW = "/-/applications/new"


@pytest.fixture
def repo(pages: None, make_repo: Callable[..., Repository]) -> Repository:
    return make_repo("my-app", FILES)


def form(url: str, action: str, **changes: str) -> dict[str, str]:
    """What a browser sends."""
    return {
        "repo_url": url,
        "branch": "main",
        "namespace": "ana",
        "name": "",
        "manifest_path": "zerverless.yaml",
        "auto_deploy": "on",
        "action": action,
        **changes,
    }


def after_test(client: Client, data: dict[str, str], address: str = NEW) -> Any:
    """Send the form, have the lane of Git work do the test, follow where it leads."""
    response = client.post(address, data)
    for row in ConnectionTest.objects.filter(state=State.QUEUED):
        pipeline.test_connection(row.pk)
    if "Location" in response.headers:
        response = client.get(response.headers["Location"], follow=True)
    return response


def test_adding_a_repository_leads_to_its_first_sync(
    dashboard: Client, repo: Repository
) -> None:
    response = after_test(dashboard, form(repo.url, "save"))
    application = Application.objects.get()
    sync = Sync.objects.get()
    assert str(application) == "ana/my-app"
    assert (sync.application, sync.requested_by) == (application, "ana")
    assert response.redirect_chain == [(sync.get_absolute_url(), 302)]
    assert b"ana/my-app is added" in response.content


def test_testing_shows_the_manifest_and_saves_nothing(
    dashboard: Client, repo: Repository
) -> None:
    body = after_test(dashboard, form(repo.url, "test")).content.decode()
    assert "/ana/api" in body
    assert "services/api/Dockerfile" in body
    assert repo.head[:7] in body
    assert not Application.objects.exists()


def test_the_tested_part_comes_alone_to_htmx(
    dashboard: Client, repo: Repository, admin_pages: Client
) -> None:
    htmx = {"HX-Request": "true"}
    address = reverse("connection_result")
    body = dashboard.post(address, form(repo.url, "test"), headers=htmx).content
    assert body.strip().startswith(b'<div id="connection"')
    assert b"Waiting to ask the Git server" in body
    test = ConnectionTest.objects.get()
    part = reverse("connection_part", args=[test.pk])
    pipeline.test_connection(test.pk)
    body = dashboard.get(part, headers=htmx).content
    assert b'<option value="main">' in body
    assert b"hx-get" not in body
    assert repo.head[:7] not in admin_pages.get(part, headers=htmx).content.decode()
    incomplete = form(repo.url, "test", namespace="")
    assert b"Namespace" in dashboard.post(address, incomplete, headers=htmx).content


def test_a_server_that_hangs_holds_up_no_page(
    dashboard: Client, bad_git_server: Callable[..., BadServer], git_allowed: None
) -> None:
    """Threat 22: pages ask no server; one test of a user waits, however many clicks."""
    server = bad_git_server("drip")
    for _ in range(6):
        response = dashboard.post(NEW, form(server.url, "save"))
        assert b"Waiting to ask" in dashboard.get(response.headers["Location"]).content
    assert dashboard.get(reverse("overview")).status_code == 200
    assert server.hits == 0
    (test,) = ConnectionTest.objects.all()
    ConnectionTest.objects.update(queued_at=timezone.now() - timedelta(hours=2))
    pipeline.sweep()
    assert not ConnectionTest.objects.exists()
    gone = dashboard.get(
        reverse("connection_part", args=[test.pk]), headers={"HX-Request": "true"}
    )
    assert b"This test is gone" in gone.content


def test_a_saved_test_leads_on_by_itself(dashboard: Client, repo: Repository) -> None:
    """With JavaScript the part says where to; what was typed stays in the form."""
    response = dashboard.post(NEW, form(repo.url, "save", name="typed"))
    page = dashboard.get(response.headers["Location"])
    assert b'value="typed"' in page.content
    test = ConnectionTest.objects.get()
    pipeline.test_connection(test.pk)
    part = dashboard.get(
        reverse("connection_part", args=[test.pk]), headers={"HX-Request": "true"}
    )
    assert part.headers["HX-Redirect"] == response.headers["Location"]


def test_a_name_that_is_taken_meanwhile_is_said(
    dashboard: Client, repo: Repository
) -> None:
    response = dashboard.post(NEW, form(repo.url, "save", name="mine"))
    dashboard.post(NEW, form(repo.url, "save_anyway", name="mine"))
    pipeline.test_connection(ConnectionTest.objects.get().pk)
    body = dashboard.get(response.headers["Location"]).content
    assert b"It is not saved" in body
    assert b"has an application of that name already" in body


def test_branches_are_offered_with_the_default_first_and_a_limit(
    dashboard: Client, repo: Repository
) -> None:
    """Threat 134."""
    new = "".join(f"create refs/heads/a{n:03} {repo.head}\n" for n in range(200))
    run_git(repo.path, "update-ref", "--stdin", stdin=new.encode())
    for branch in ("main", "nope"):
        page = after_test(dashboard, form(repo.url, "test", branch=branch))
        offered = re.findall(r'<option value="(.*?)">', page.content.decode())
        assert (len(offered), offered[0]) == (100, "main")


def test_a_missing_branch_lists_the_branches_there_are(
    dashboard: Client, repo: Repository
) -> None:
    repo.commit({"a": "b"}, branch="stable")
    body = after_test(dashboard, form(repo.url, "save", branch="nope")).content
    assert b"There is no branch" in body
    assert b'<option value="stable">' in body
    assert not Application.objects.exists()


def test_problems_of_the_manifest_are_shown_with_their_place(
    dashboard: Client, repo: Repository
) -> None:
    repo.commit({"zerverless.yaml": MANIFEST.replace("runtime: docker", "runtime: x")})
    body = after_test(dashboard, form(repo.url, "save")).content.decode()
    assert "zerverless.yaml:" in body
    assert "Save anyway" in body
    assert not Application.objects.exists()


def test_what_cannot_be_reached_is_saved_when_one_insists(
    dashboard: Client, git_allowed: None
) -> None:
    gone = "http://127.0.0.1:1/gone.git"
    body = after_test(dashboard, form(gone, "save")).content.decode()
    assert "No Git repository was found at this URL" in body
    dashboard.post(NEW, form(gone, "save_anyway"))
    assert Application.objects.get().repo_url == gone


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repo_url", "javascript:alert(1)"),
        ("repo_url", "ext::sh -c id"),
        ("namespace", "admin"),
        ("namespace", "-x"),
        ("branch", "--upload-pack=x"),
        ("manifest_path", "../../etc/passwd"),
        ("name", "Not A Name"),
    ],
)
def test_what_the_model_refuses_the_form_refuses(
    dashboard: Client, field: str, value: str
) -> None:
    """Threat 85, a `javascript:` address, among others."""
    response = dashboard.post(
        NEW, form("https://git.example/x.git", "save_anyway", **{field: value})
    )
    assert field in response.context["form"].errors
    assert not Application.objects.exists()


def test_a_name_is_taken_only_once(dashboard: Client, repo: Repository) -> None:
    after_test(dashboard, form(repo.url, "save"))
    body = after_test(dashboard, form(repo.url, "save")).content.decode()
    assert "has an application of that name already" in body
    assert Application.objects.count() == 1


def test_sync_now_twice_is_one_sync(dashboard: Client) -> None:
    """Threat 92: a double click."""
    application = make_world().application
    address = reverse("application_sync", args=["alice", application.name])
    first, second = dashboard.post(address), dashboard.post(address)
    assert first.headers["Location"] == second.headers["Location"]
    assert Sync.objects.filter(state=State.QUEUED).count() == 1


def test_an_application_is_changed_and_polled_again(
    dashboard: Client, repo: Repository
) -> None:
    application = make_world().application
    address = reverse("application_edit", args=["alice", application.name])
    changes = form(repo.url, "save_anyway", branch="stable", poll_interval="60")
    response = dashboard.post(address, changes)
    assert response.headers["Location"] == application.get_absolute_url()
    application.refresh_from_db()
    assert (application.branch, application.interval) == ("stable", 60)
    assert application in Application.objects.due()


def test_a_change_is_tested_before_it_is_saved(
    dashboard: Client, repo: Repository
) -> None:
    repo.commit({"zerverless.yaml": MANIFEST.replace(": ana", ": alice")})
    application = make_world().application
    address = reverse("application_edit", args=["alice", application.name])
    page = after_test(dashboard, form(repo.url, "save", branch="nope"), address)
    assert b"There is no branch" in page.content
    assert repo.url in page.content.decode()
    application.refresh_from_db()
    assert application.repo_url != repo.url
    page = after_test(dashboard, form(repo.url, "save", poll_interval="9"), address)
    assert b"greater than or equal to 10" in page.content
    page = after_test(dashboard, form(repo.url, "save"), address)
    assert page.redirect_chain[-1][0] == application.get_absolute_url()
    application.refresh_from_db()
    assert application.repo_url == repo.url


def test_removing_says_first_what_stops(dashboard: Client) -> None:
    world = make_world()
    address = reverse("application_delete", args=["alice", world.application.name])
    assert world.function.url_path.encode() in dashboard.get(address).content
    assert Deployment.objects.live().exists()
    assert dashboard.post(address).headers["Location"] == reverse("applications")
    assert not Deployment.objects.live().exists()
    assert dashboard.get(world.application.get_absolute_url()).status_code == 404


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "out_of_sync"}, "Out of sync"),
        ({"status": "unknown"}, "Not checked yet"),
        ({"poll_error": "The host name cannot be resolved.\n$ git"}, "Git unreachable"),
    ],
)
def test_the_lists_say_what_is_not_well(
    dashboard: Client, fields: dict[str, Any], words: str
) -> None:
    world = make_world()
    Application.objects.update(**fields)
    for page in (reverse("applications"), world.application.get_absolute_url()):
        assert words in dashboard.get(page).content.decode()


def test_a_failed_sync_shows_the_source_and_what_stays(dashboard: Client) -> None:
    world = make_world()
    problem = {
        "file": "zerverless.yaml",
        "line": 2,
        "column": 1,
        "path": "spec",
        "message": "Required value",
    }
    world.revision.problems = [problem]
    world.revision.save()
    Sync.objects.update(state=State.FAILED, error="zerverless.yaml:2:1: …")
    body = dashboard.get(world.sync.get_absolute_url()).content.decode()
    assert "zerverless.yaml:2:1" in body
    assert "# Fix the totals" in body  # the source line itself
    assert "Nothing that serves was changed" in body
    assert "Failed · Sync of" in body


def test_an_empty_dashboard_leads_the_way(dashboard: Client) -> None:
    body = dashboard.get(reverse("overview")).content.decode()
    assert "Three steps to a URL" in body
    assert reverse("application_new") in body
