"""What the pages say about a server function, and about what was tried."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from builds import transcript
from runtime.models import Deployment
from tests.fixtures.pages import World, make_world

CHECK = {"method": "GET", "path": "/health?a=<b>", "status": 204, "contains": "fine"}
SERVER = {
    "port": 8080,
    "min_instances": 1,
    "max_instances": 3,
    "idle": 300,
    "checks": [CHECK],
}


def world(config: dict[str, Any]) -> World:
    made = make_world()
    Deployment.objects.filter(pk=made.deployment.pk).update(config=config)
    return made


def page(dashboard: Client, address: str) -> str:
    answer = dashboard.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_function_page_says_what_kind_of_server_it_is(dashboard: Client) -> None:
    body = page(dashboard, world(SERVER).function.get_absolute_url())
    for fact in ("server on port 8080", "1 to 3 instances", "idle after 5 min"):
        assert f'<span class="tag">{fact}</span>' in body
    assert "<code>GET /health?a=&lt;b&gt;</code>" in body
    assert "answers 204 with “fine”" in body


@pytest.mark.parametrize("config", [{}, {"port": None, "timeout": 30}])
def test_a_function_page_says_that_it_is_no_server(
    dashboard: Client, config: dict[str, Any]
) -> None:
    body = page(dashboard, world(config).function.get_absolute_url())
    assert '<span class="tag">one container per request</span>' in body
    assert "<dt>Checks</dt>" not in body
    assert "no effect" not in body


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"max_instances": 2}, "<code>instances</code> has no effect"),
        (
            {"min_instances": 1, "idle": 9},
            "<code>instances</code> and <code>idle</code> have no effect",
        ),
    ],
)
def test_a_function_page_warns_of_keys_that_mean_nothing(
    dashboard: Client, config: dict[str, Any], words: str
) -> None:
    address = world({**config, "port": None}).function.get_absolute_url()
    assert words in page(dashboard, address)


def test_lists_of_functions_say_which_are_servers(dashboard: Client) -> None:
    made = world(SERVER)
    facts = "<small>server on port 8080 · 1 to 3 instances · idle after 5 min</small>"
    assert facts in page(dashboard, made.application.get_absolute_url())
    assert facts in page(dashboard, reverse("functions"))
    Deployment.objects.update(config={})
    assert "<small>server" not in page(dashboard, reverse("functions"))


def test_a_build_page_says_where_it_will_serve(dashboard: Client) -> None:
    build = make_world().build
    assert "a server on port" not in page(dashboard, build.get_absolute_url())
    build.port = 3000
    build.save()
    assert "a server on port 3000" in page(dashboard, build.get_absolute_url())


def test_the_steps_of_a_trial_say_how_they_ended() -> None:
    texts = ["==> Start", "| <== not ours", "<== 0.4 s", "==> Check", "<== failed"]
    steps = transcript.steps(enumerate(texts, 1))
    assert [(s.title, s.note, s.is_failed) for s in steps] == [
        ("Start", "0.4 s", False),
        ("Check", "failed", True),
    ]
