"""The main job as a person does it: log in, add a repository, watch, open the URL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.git import GitServer
from tests.fixtures.stack import Stack

MANIFEST = """\
apiVersion: zerverless.io/v1
kind: Application
metadata: {name: greeter, namespace: ana}
spec:
  source: {repoURL: https://git.example/greeter.git, branch: main}
  functions:
    - path: /hello
      runtime: docker
      dockerfile: ./Dockerfile
      context: .
"""
DOCKERFILE = """\
FROM busybox
RUN echo '<img src=x onerror=alert(1)>'
CMD ["echo", "hello from a commit"]
"""
BUILD_MS = 120_000
POLL_MS = 20_000
PAGES = [
    "/-/",
    "/-/applications/",
    "/-/applications/new",
    "/-/functions/",
    "/-/activity",
    "/-/system",
]


@pytest.fixture
def repository(git_server: GitServer) -> Any:
    """A repository with one small function."""
    files = {"zerverless.yaml": MANIFEST, "Dockerfile": DOCKERFILE}
    return git_server.make("browser/greeter", files)


@pytest.fixture
def sign_in(stack: Stack, page: Page) -> Callable[[], None]:
    """Log in as the administrator of the stack."""

    def go() -> None:
        page.goto(f"{stack.url}/-/")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(stack.admin_password)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    return go


def test_from_a_repository_to_an_answer(
    stack: Stack, page: Page, repository: Any, sign_in: Callable[[], None]
) -> None:
    """Threat 85 on the way: the log holds a tag that would open a dialog."""
    sign_in()
    add(page, repository.url)
    watch_the_build(page)
    page.get_by_role("link", name="Open function").click()
    address = page.get_by_role("link", name=f"{stack.url}/ana/hello", exact=True)
    expect(address).to_be_visible()
    expect(page.get_by_role("row", name="v1")).to_contain_text("Live")
    address.click()
    expect(page.locator("body")).to_contain_text("hello from a commit")


def test_pages_fit_a_phone_and_follow_the_theme(
    stack: Stack, page: Page, sign_in: Callable[[], None]
) -> None:
    """320 px wide without scrolling sideways (WCAG 1.4.10), and no blocked style."""
    sign_in()
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark")
    for address in PAGES:
        page.goto(stack.url + address)
        wide = "document.documentElement.scrollWidth - innerWidth"
        assert page.evaluate(wide) <= 0, address
    expect(page.locator("body")).to_have_css("background-color", "rgb(13, 17, 23)")


def test_logging_out_on_another_tab_shows_the_login_page(
    stack: Stack, page: Page, sign_in: Callable[[], None]
) -> None:
    """A poll without a session must not put a login page into half a page."""
    sign_in()
    page.context.clear_cookies()
    login = page.get_by_role("heading", name="Log in")
    expect(login).to_be_visible(timeout=POLL_MS)
    expect(page.get_by_role("navigation", name="Main")).to_have_count(0)


def add(page: Page, url: str) -> None:
    """Fill in the form, test the connection, save."""
    page.get_by_role("link", name="Add an application").first.click()
    page.get_by_label("Repository URL").fill(url)
    page.get_by_label("Namespace").fill("ana")
    page.evaluate("window.sameDocument = true")
    page.get_by_role("button", name="Test connection").click()
    good = "the manifest is good"
    expect(page.locator("#connection")).to_contain_text(good, timeout=BUILD_MS)
    assert page.evaluate("window.sameDocument"), "the result is swapped in by htmx"
    expect(page.locator("#connection")).to_contain_text("/ana/hello")
    page.get_by_role("button", name="Add application").click()
    heading = page.get_by_role("heading", name="Sync")
    expect(heading).to_be_visible(timeout=BUILD_MS)  # after one more test


def watch_the_build(page: Page) -> None:
    """From the sync's page to the build's, which changes by itself to its end."""
    page.get_by_role("link", name="Build ana/hello").click(timeout=BUILD_MS)
    expect(page.locator("#build-status")).to_contain_text("Succeeded", timeout=BUILD_MS)
    expect(page).to_have_title("Succeeded · ana/hello · Zerverless")
    expect(page.locator("#steps")).to_contain_text("<img src=x onerror=alert(1)>")
