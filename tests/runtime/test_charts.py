"""Shapes of charts, and the words that say the same."""

from __future__ import annotations

import time
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.template.loader import render_to_string
from hypothesis import given
from hypothesis import strategies as st

from runtime import panels
from runtime.charts import HEIGHT, bars, ceiling, hints, line
from runtime.histogram import SIZE
from runtime.history import BRIEF, DAY, HOUR, History, Window

NOW = 29_000_000 + 7  # a minute that is not a multiple of fifteen


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (0.0003, 0.0003), (0.7, 0.8), (1, 1), (72, 80), (81, 100), (1234, 1500)],
)
def test_scales_end_at_round_numbers(value: float, top: float) -> None:
    assert ceiling(value) == pytest.approx(top)


@given(st.floats(1e-6, 1e12))
def test_nothing_is_above_the_scale(value: float) -> None:
    assert value <= ceiling(value) * 1.00001 <= value * 2.0001


def test_bars_stand_on_the_axis_or_on_each_other() -> None:
    lower = bars([0, 5, 10], 10)
    upper = bars([0, 5, 0], 10, "bad", below=[0, 5, 10])
    assert [(bar.x, bar.y, bar.height) for bar in lower] == [
        ("1.1", "50", "50"),
        ("2.1", "0", "100"),
    ]
    assert [(bar.x, bar.y, bar.height, bar.tone) for bar in upper] == [
        ("1.1", "0", "50", "bad")
    ]


def test_one_among_thousands_is_seen() -> None:
    [_, small] = bars([10_000, 1], 10_000)
    assert float(small.height) >= 1


def test_a_small_one_on_a_high_one_stays_within_the_edges() -> None:
    [bar] = bars([1], 10_000, below=[9_999])
    assert float(bar.y) == 0


def test_a_line_has_gaps_where_nothing_was_measured() -> None:
    assert line([None, 1, 2, None, 4], 4) == "M1.5 75h0L2.5 50M4.5 0h0"
    assert line([None, None], 1) == ""


def test_only_slots_with_something_to_say_have_hints() -> None:
    assert [(hint.x, hint.words) for hint in hints(["", "b"])] == [(1, "b")]


@pytest.mark.parametrize("window", [HOUR, DAY, BRIEF])
@pytest.mark.parametrize("now", [NOW, NOW + 1, NOW + 8])
def test_a_window_ends_with_the_last_whole_minute(window: Window, now: int) -> None:
    history = History(window, now)
    slots = history.slots
    assert len(slots) == window.length // window.slot
    assert all(slot.minute % window.slot == 0 for slot in slots)
    assert slots[-1].minute + slots[-1].minutes == now
    assert all(slot.minutes == window.slot for slot in slots[:-1])


def row(minute: int, requests: int = 10, **fields: Any) -> dict[str, Any]:
    names = ("redirects", "client_errors", "function_errors", "platform_errors")
    values = {**dict.fromkeys([*names, "cold_starts"], 0), **fields}
    durations = [0] * SIZE
    durations[5] = requests  # 4 to 8 ms
    return {
        "minute": minute,
        "requests": requests,
        "durations": durations,
        "seconds": 0.06,
        "cold_seconds": 0.9 * values["cold_starts"],
        **values,
    }


def test_rows_of_several_processes_add_up_in_a_slot() -> None:
    history = History(DAY, NOW)
    first = history.slots[0].minute
    for minute in (first, first, first + 14, first + 15, NOW - 1):
        history.add(row(minute, function_errors=1))
    assert [slot.requests for slot in history.slots if slot.requests] == [30, 10, 10]
    assert (history.whole.requests, history.whole.errors) == (50, 5)
    assert history.whole.error_share == 0.1


def test_words_say_what_the_drawing_shows() -> None:
    history = History(HOUR, NOW)
    history.add(row(NOW - 1, 120, function_errors=3, platform_errors=1))
    requests, errors, times = panels.panels(history)
    assert (requests.value, requests.note) == ("120", "2 per minute on average")
    assert "at most 120 per minute" in requests.plot.words
    assert (errors.value, errors.note) == (
        "3.3 %",
        "3 function errors, 1 platform error",
    )
    assert times.value == "6 ms"
    assert "95 % within 7.8 ms" in times.plot.words
    [only] = panels.rows(history)
    assert (only.p50, only.p95, only.tally.requests) == ("6 ms", "7.8 ms", 120)


def test_nothing_called_is_nothing_drawn() -> None:
    history = History(HOUR, NOW)
    assert panels.brief(history) is None
    assert panels.rows(history) == []
    assert not any(p.plot.bars or p.plot.hints for p in panels.panels(history))


def test_one_line_says_how_many_and_how_well() -> None:
    history = History(BRIEF, NOW)
    history.add(row(NOW - 1, 1))
    brief = panels.brief(history)
    assert brief is not None
    assert (brief.requests, brief.note) == ("1 request", "p95 7.8 ms")
    history = History(BRIEF, NOW)
    history.add(row(NOW - 2, 1000, platform_errors=5))
    brief = panels.brief(history)
    assert brief is not None
    assert (brief.requests, brief.note) == (
        "1,000 requests",
        "0.5 % errors · p95 7.8 ms",
    )
    assert brief.plot.words == "1,000 requests in the last hour, 5 errors."


@pytest.mark.parametrize("window", [HOUR, DAY])
def test_drawings_are_well_formed_and_stay_within_their_edges(window: Window) -> None:
    history = History(window, int(time.time() // 60))
    for number, slot in enumerate(history.slots[::3]):
        history.add(row(slot.minute, number**3, function_errors=number))
    for panel in panels.panels(history):
        svg = render_to_string(
            "runtime/_plot.html", {"plot": panel.plot, "shape": "plot"}
        )
        drawing = ET.fromstring(svg)
        assert drawing.attrib["role"] == "img"
        assert drawing.attrib["aria-label"] == panel.plot.words
        assert "style" not in svg  # the policy forbids it
        for shape in drawing.iter("rect"):
            x = float(shape.attrib["x"])
            y, height = float(shape.get("y", 0)), float(shape.attrib["height"])
            assert 0 <= x < panel.plot.width
            assert y >= -0.01
            assert y + height <= HEIGHT + 0.01


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.00031, "0.31 ms"), (0.042, "42 ms"), (1.5, "1.5 s"), (30, "30 s")],
)
def test_durations_in_words(seconds: float | None, words: str) -> None:
    assert panels.duration(seconds) == words
