"""Live parts change by themselves and never move focus, selection or scroll."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.servers.basehttp import ThreadedWSGIServer
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from applications.models import Sync
from applications.work import State
from builds.models import Build
from tests.fixtures.pages import (
    World,
    append,
    change,
    make_build,
    make_deployment,
    make_invocation,
    make_revision,
    make_sync,
    make_world,
)

LIVE_MS = 20_000
RUNNING: dict[str, Any] = {"state": State.RUNNING, "finished_at": None, "slot": 0}
# A control, a text and a scroll position, each of which a person might have.
HOLD = """([control, text]) => {
  const find = (selector) => document.querySelector(selector);
  find(control).focus({preventScroll: true});
  const node = document.createTreeWalker(find(text), NodeFilter.SHOW_TEXT).nextNode();
  const range = document.createRange();
  range.selectNodeContents(node);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  scrollTo(0, 120);
  const seen = document.elementFromPoint(400, 200);
  window.held = {
    active: document.activeElement, selected: String(getSelection()),
    y: scrollY, seen, top: seen.getBoundingClientRect().top,
  };
}"""
# What is seen stays where it is, whether lines came below it or above it.
HELD = """() => ({
  sameDocument: window.held !== undefined,
  focus: document.activeElement === held.active && held.active !== document.body,
  selection: held.selected.length > 0 && String(getSelection()) === held.selected,
  scroll: scrollY === held.y
    || Math.abs(held.seen.getBoundingClientRect().top - held.top) < 2,
})"""
KEPT = dict.fromkeys(["sameDocument", "focus", "selection", "scroll"], True)


@pytest.fixture
def world(
    transactional_db: None, pages: None, monkeypatch: pytest.MonkeyPatch
) -> World:
    """Rows for a dashboard in a thread of this process: no Docker, no Git."""
    # Playwright's loop lives in this thread; the queries here are not made in it.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    world = make_world()
    for number in range(30):
        make_invocation(world.deployment, f"said {number}")
        make_sync(world.application, world.revision)
    return world


@pytest.fixture
def site(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the dashboard; started after the settings `pages` changes."""
    # Its end waits for the polls it answers: they share our connection to the database.
    monkeypatch.setattr(ThreadedWSGIServer, "daemon_threads", False)
    server = LiveServer("localhost")
    yield server.url
    server.stop()


@pytest.fixture
def show(site: str, user: Any, page: Page) -> Callable[[str], Page]:
    """Open an address of the dashboard, logged in, in a window that has to scroll."""
    client = Client()
    client.force_login(user)
    name = django_settings.SESSION_COOKIE_NAME
    cookie: Any = {
        "name": name,
        "value": client.cookies[name].value,
        "url": f"{site}/-/",
    }
    page.context.add_cookies([cookie])
    page.set_viewport_size({"width": 1000, "height": 420})

    def go(address: str) -> Page:
        page.goto(site + address)
        return page

    return go


def something_happens(world: World) -> None:
    """News for every page: a commit, its sync, its build, a request."""
    newest = make_revision(world.application, "Something new")
    sync = make_sync(world.application, newest)
    make_build(world.function, sync, state=State.FAILED, error="No such package.")
    make_invocation(world.deployment, "the newest request")
    Sync.objects.filter(pk=world.sync.pk).update(state=State.FAILED, error="Too late.")


# Page -> a control in its live part, a text in it, and what tells that it has changed.
LIVE = {
    "overview": ("#overview .tile", "#overview h2", "No such package."),
    "applications": ("#applications th a", "#applications th small", "Out of sync"),
    "functions": ("#functions th a", "#functions tbody td code", "No such package."),
    "activity": ("#activity tbody a", "#activity h2", "Something new"),
    "application": ("#application tbody a", "#application dt", "No such package."),
    "function": ("#function details summary", "#function dt", "the newest request"),
}


@pytest.mark.parametrize("name", LIVE)
def test_a_live_page_keeps_focus_selection_and_scroll(
    show: Callable[[str], Page], world: World, name: str
) -> None:
    """Threat 146. Every three seconds focus went to the body, and a selection away."""
    control, text, news = LIVE[name]
    own = getattr(world, name, None)
    page = show(own.get_absolute_url() if own else reverse(name))
    page.evaluate(HOLD, [control, text])
    something_happens(world)
    expect(page.locator("main")).to_contain_text(news, timeout=LIVE_MS)
    assert page.evaluate(HELD) == KEPT


def test_a_sync_ends_in_its_address(show: Callable[[str], Page], world: World) -> None:
    """Threat 146, and at its end the URL of what it deployed, to copy and open."""
    plan = [change("/api", "its files changed")]
    sync = make_sync(world.application, world.revision, plan=plan)
    build = make_build(world.function, sync, **RUNNING)
    page = show(sync.get_absolute_url())
    page.evaluate(HOLD, ["#sync li a", "#sync li b"])
    expect(page).to_have_title(f"Running · Sync of {world.application} · Zerverless")
    ended(build, State.SUCCEEDED)
    make_deployment(build)
    address = page.get_by_role("link", name="/alice/api", exact=False).first
    expect(page.get_by_role("heading", name="Live")).to_be_visible(timeout=LIVE_MS)
    expect(address).to_be_visible()
    expect(
        page.get_by_role("link", name="Open /alice/api in a new tab")
    ).to_be_visible()
    expect(page).to_have_title(f"Succeeded · Sync of {world.application} · Zerverless")
    assert page.evaluate(HELD) == KEPT


def test_a_function_that_was_never_live_says_so(
    show: Callable[[str], Page], world: World
) -> None:
    world.invocation.function.invocations.all().delete()
    world.deployment.delete()
    page = show(world.function.get_absolute_url())
    expect(page.locator("#address")).to_contain_text("Never live yet")
    expect(page.locator("#address").get_by_role("button")).to_have_count(0)
    expect(page.get_by_role("link", name="Open")).to_have_count(0)
    make_deployment(world.build)
    opens = page.get_by_role("link", name="Open in a new tab")
    expect(opens).to_be_visible(timeout=LIVE_MS)


def test_a_build_that_fails_while_followed_shows_why(
    show: Callable[[str], Page], world: World
) -> None:
    """Threat 146. The page stayed at the end of the log, its failed step grey."""
    sync = make_sync(world.application, world.revision)
    opening = ["#1 [1/2] FROM busybox", "#1 DONE 0.1s", "#2 [2/2] RUN make"]
    lines = [*opening, *(f"#2 0.{n} compiling {n}" for n in range(60))]
    build = make_build(world.function, sync, lines, **RUNNING)
    page = show(build.get_absolute_url())
    follow = page.get_by_role("button", name="Follow")
    follow.click()
    page.evaluate(HOLD, ["#build-now button", "#L5 span"])
    expect(follow).to_have_attribute("aria-pressed", "false")
    append(build, ["#2 9.9 a line that came later"])
    expect(page.locator("#steps")).to_contain_text("came later", timeout=LIVE_MS)
    assert page.evaluate(HELD) == KEPT
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "true")
    append(build, ["#2 ERROR: exit code: 2", " > [2/2] RUN make:"])
    ended(build, State.FAILED, error="make: *** No rule.", failed_step="[2/2] RUN make")
    why = page.locator("#build-status .summary")
    expect(why).to_contain_text("make: *** No rule.", timeout=LIVE_MS)
    expect(why).to_be_in_viewport()
    red = page.locator("#build-status .state").first.evaluate(COLOUR)
    assert page.locator("#step-3 > summary").evaluate(COLOUR) == red
    assert page.locator("#step-3").get_attribute("open") is not None
    expect(follow).to_have_count(0)
    assert page.evaluate("held.y") == 120, "the same document: nothing was reloaded"


COLOUR = "(element) => getComputedStyle(element).color"


def ended(build: Build, state: State, **fields: str) -> None:
    Build.objects.filter(pk=build.pk).update(
        state=state, finished_at=timezone.now(), slot=None, **fields
    )
