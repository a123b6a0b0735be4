"""Text that strangers write (commits, logs, answers) never becomes markup."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from applications.models import Application, Revision
from applications.work import State
from builds.models import Build
from tests.fixtures.pages import World, make_world
from zerverless_site.templatetags import zerverless as tags

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 }}"
PROBLEM = {
    "file": EVIL,
    "line": 2,
    "column": 1,
    "path": EVIL,
    "message": EVIL,
}


@pytest.fixture
def world(pages: None) -> World:
    """Everything in it failed, and every text in it is hostile."""
    world = make_world(text=EVIL)
    Build.objects.update(state=State.FAILED, error=f"{EVIL}\n{EVIL}", failed_step=EVIL)
    Revision.objects.update(problems=[PROBLEM], warnings=[PROBLEM])
    Application.objects.update(poll_error=f"{EVIL}\n{EVIL}", repo_url=EVIL, branch=EVIL)
    return world


def pages_of(world: World) -> list[str]:
    return [
        reverse("overview"),
        reverse("applications"),
        reverse("functions"),
        reverse("activity"),
        world.application.get_absolute_url(),
        world.sync.get_absolute_url(),
        world.build.get_absolute_url(),
        world.function.get_absolute_url(),
        f"{world.application.get_absolute_url()}/edit",
        f"{world.application.get_absolute_url()}/delete",
    ]


def test_hostile_text_is_shown_as_text(dashboard: Client, world: World) -> None:
    """Threats 13 and 85."""
    for page in pages_of(world):
        body = dashboard.get(page).content.decode()
        assert "<script>alert" not in body, page
        assert "<img src=x" not in body, page
    build = dashboard.get(world.build.get_absolute_url()).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in build
    assert "{{ 7 }}" in build


def test_hostile_text_stays_text_in_the_admin(
    admin_pages: Client, world: World
) -> None:
    """Threat 85."""
    for model in ("application", "revision", "sync"):
        page = reverse(f"admin:applications_{model}_changelist")
        assert b"<script>alert" not in admin_pages.get(page).content
    for page in (
        "admin:builds_build_changelist",
        "admin:runtime_invocation_changelist",
    ):
        assert b"<script>alert" not in admin_pages.get(reverse(page)).content


def test_a_lines_answer_holds_text_only(dashboard: Client, world: World) -> None:
    """Threat 85: the live log is swapped into the page."""
    address = reverse("build_part", args=[world.build.pk])
    response = dashboard.get(address, {"after": 0}, headers={"HX-Request": "true"})
    assert b"<script>alert" not in response.content
    assert b"&lt;script&gt;" in response.content


def test_the_raw_log_is_never_html(dashboard: Client, world: World) -> None:
    """Threat 85."""
    address = reverse("build_log_raw", args=[world.build.pk])
    response = dashboard.get(address)
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert EVIL.encode() in b"".join(response)
    saved = dashboard.get(address, {"download": ""})
    assert saved.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x07", "link"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb\x00", "a\\u200bb\\u0000"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_terminal_codes_and_hidden_characters_are_made_visible(
    text: str, shown: str
) -> None:
    """Threats 85 and 93."""
    assert tags.visible(text) == shown


def test_five_lines_of_source_are_shown_around_a_problem() -> None:
    text = "\n".join(f"line {number}" for number in range(1, 10))
    assert [row[0] for row in tags.around(text, 5)] == [3, 4, 5, 6, 7]
    assert [row[0] for row in tags.around(text, 1)] == [1, 2, 3]
    assert [row for row in tags.around(text, 5) if row[2]] == [(5, "line 5", True)]
    assert tags.around(text, 99) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "250 ms"),
        (3.14, "3.1 s"),
        (38, "38 s"),
        (125, "2 min 5 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_lengths_of_time_read_like_speech(seconds: float, words: str) -> None:
    assert tags.span(seconds) == words


def test_the_settings_page_shows_no_secret(
    dashboard: Client, settings: object, world: World
) -> None:
    settings.ZERVERLESS_ADMIN_PASSWORD = "hunter2"  # type: ignore[attr-defined]
    settings.DATABASE_URL = "postgres://zv:hunter2@db/zv"  # type: ignore[attr-defined]
    body = dashboard.get(reverse("system")).content
    assert b"hunter2" not in body
    assert b"postgres://***@db/zv" in body


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (256 << 20, "256 MiB"),
        (3 << 29, "1.5 GiB"),
        (5 << 40, "5 TiB"),
    ],
)
def test_sizes_are_binary(amount: int, shown: str) -> None:
    """256Mi in a manifest is 256 MiB on a page; it was "256.0 MB"."""
    assert tags.size(amount) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("#7 0.512 compiling", "compiling"),
        ("#7 DONE 0.5s", "DONE 0.5s"),
        ("Step 2/3 : RUN make", "Step 2/3 : RUN make"),
        ("# a comment", "# a comment"),
    ],
)
def test_a_log_is_shown_without_the_builder_s_clock(line: str, shown: str) -> None:
    assert tags.without_progress(line) == shown


def test_the_phases_of_a_request_fill_the_bar() -> None:
    bars = tags.phases({"start": 100.0, "run": 300.0, "total": 404.0})["bars"]
    assert bars == [("start", 100.0, 0.0, 25.0), ("run", 300.0, 25.0, 75.0)]
    added = tags.phases({"start": 10.0, "run": 17.4, "total": 27.4}, 48.0)["bars"]
    assert [(name, round(took, 1)) for name, took, *_ in added][-1] == ("other", 20.6)
    assert round(sum(took for _, took, *_ in added), 1) == 48.0
    assert tags.phases({})["bars"] == []
