"""Charts on the pages: right numbers, few queries, fresh without a reload."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.fixtures.pages import World, make_world
from tests.fixtures.traffic import make_minute

HTMX = {"HX-Request": "true"}


@pytest.fixture
def world(pages: None) -> World:
    return make_world()


def text(client: Client, address: str, **data: Any) -> str:
    body = client.get(address, data).content.decode()
    return re.sub(r"\s+", " ", body)


def test_a_function_shows_its_last_hour_or_day(dashboard: Client, world: World) -> None:
    make_minute(world.function, 5, requests=30, function_errors=3)
    make_minute(world.function, 300, requests=60, cold_starts=2, cold_seconds=1.0)
    make_minute(world.function, 2000, requests=999)
    address = world.function.get_absolute_url()
    hour = text(dashboard, address)
    assert "<b>30</b>" in hour
    assert "10 %" in hour
    assert "cold start" not in hour.partition("traffic-table")[0]
    day = text(dashboard, address, traffic="day")
    assert "<b>90</b>" in day
    assert "2 cold starts, 500 ms on average." in day
    assert "999" not in day


def test_a_window_without_requests_is_a_sentence(
    dashboard: Client, world: World
) -> None:
    make_minute(world.function, 300)
    body = text(dashboard, world.function.get_absolute_url())
    assert "No requests in the last hour. They are counted" in body
    assert 'class="plot"' not in body


def test_everything_drawn_is_also_in_a_table(dashboard: Client, world: World) -> None:
    for ago in (1, 2, 3):
        make_minute(world.function, ago, requests=7, platform_errors=2)
    body = text(dashboard, world.function.get_absolute_url())
    table = body.partition("traffic-table")[2].partition("</table>")[0]
    assert table.count("<tr") == 4
    assert table.count(">7</td>") == 3


def test_the_part_is_sent_again_only_when_it_has_changed(
    dashboard: Client, world: World
) -> None:
    make_minute(world.function, 5)
    address = reverse("traffic_part", args=[world.function.pk])
    body = dashboard.get(address, {"traffic": "day"}, headers=HTMX).content.decode()
    again = re.search(r'hx-get="([^"]+)"', body)
    assert again
    assert "traffic=day" in again[1]
    seen = again[1].replace("&amp;", "&")
    assert dashboard.get(seen, headers=HTMX).status_code == 204
    make_minute(world.function, 4, requests=1)
    assert dashboard.get(seen, headers=HTMX).status_code == 200
    assert dashboard.get(address).status_code == 404


def test_the_part_costs_few_queries_and_a_page_without_news_reads_no_traffic(
    dashboard: Client, world: World
) -> None:
    for ago in range(1, 50):
        make_minute(world.function, ago)
    page = reverse("function_part", args=[world.function.pk])
    body = dashboard.get(page, headers=HTMX).content.decode()
    again = re.search(r'hx-get="([^"]+)"', body)
    assert again
    with CaptureQueriesContext(connection) as captured:
        response = dashboard.get(again[1].replace("&amp;", "&"), headers=HTMX)
    assert response.status_code == 204
    charts = '"durations"'  # health reads the last minutes, but no histogram
    assert not any(charts in one["sql"] for one in captured)
    with CaptureQueriesContext(connection) as captured:
        dashboard.get(reverse("traffic_part", args=[world.function.pk]), headers=HTMX)
    assert len([one for one in captured if charts in one["sql"]]) == 1


@pytest.mark.parametrize("page", ["functions", "application"])
def test_lists_show_the_last_hour_of_each_function(
    dashboard: Client, world: World, page: str
) -> None:
    quiet = make_world("/quiet")
    type(quiet.function).objects.update(application=world.application)
    make_minute(world.function, 3, requests=1200, platform_errors=6)
    make_minute(world.function, 90, requests=5000)
    address = (
        reverse("functions")
        if page == "functions"
        else world.application.get_absolute_url()
    )
    body = text(dashboard, address)
    assert "1,200 requests<small>0.5 % errors · p95 7.8 ms</small>" in body
    assert body.count("no requests") == 1


def test_the_overview_sums_up_all_functions(dashboard: Client, world: World) -> None:
    assert "in the last hour" not in text(dashboard, reverse("overview"))
    make_minute(world.function, 3, requests=100)
    make_minute(make_world("/other").function, 4, requests=100, function_errors=1)
    body = text(dashboard, reverse("overview"))
    assert "<b>200 requests</b> in the last hour, 0.5 % errors" in body
