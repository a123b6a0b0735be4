"""What the charts of a function say: one panel a question, with its drawing and words.

Everything is in the words and in the table as well: nobody needs the drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from runtime.charts import Plot, bars, ceiling, hints, line
from runtime.history import History, Tally


@dataclass(frozen=True)
class Panel:
    """One chart with its headline; `legend` pairs a tone with what it stands for."""

    title: str
    value: str
    note: str
    plot: Plot
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Brief:
    """A drawing the height of a line, and what it comes to."""

    plot: Plot
    requests: str
    note: str


@dataclass(frozen=True)
class Row:
    """One line of the table: a slot in words."""

    at: str
    tally: Tally
    p50: str
    p95: str


def panels(history: History) -> list[Panel]:
    """Requests, errors and times."""
    return [_requests(history), _errors(history), _times(history)]


def rows(history: History) -> list[Row]:
    """Every slot in which something happened, the newest first."""
    return [
        Row(_clock(history, slot), slot, duration(slot.p50), duration(slot.p95))
        for slot in reversed(history.slots)
        if slot.requests or slot.cold_starts
    ]


def brief(history: History) -> Brief | None:
    """The whole of it on one line; None where nothing was called."""
    whole = history.whole
    if not whole.requests:
        return None
    notes = [f"{share(whole.error_share)} errors"] if whole.errors else []
    if whole.p95 is not None:
        notes.append(f"p95 {duration(whole.p95)}")
    return Brief(_spark(history), counted(whole.requests, "request"), " · ".join(notes))


def _spark(history: History) -> Plot:
    values = [slot.rate for slot in history.slots]
    wrong = [slot.errors / slot.minutes for slot in history.slots]
    well = [all_ - bad for all_, bad in zip(values, wrong, strict=True)]
    top = max(values) or 1.0
    drawn = bars(well, top) + bars(wrong, top, "bad", below=well)
    whole = history.whole
    words = f"{counted(whole.requests, 'request')} in the last {history.window.words}"
    if whole.errors:
        words += f", {counted(whole.errors, 'error')}"
    return Plot(len(history.slots), f"{words}.", bars=drawn)


def _requests(history: History) -> Panel:
    unit = history.window.unit
    values = [slot.rate * history.window.slot for slot in history.slots]
    top = ceiling(max(values))
    whole = history.whole
    average = f"{number(whole.rate * history.window.slot)} {unit} on average"
    words = f"Requests over the last {history.window.words}: "
    words += f"{average}, at most {number(max(values))} {unit}."
    said = [
        f"{_clock(history, slot)}: {counted(slot.requests, 'request')}"
        if slot.requests
        else ""
        for slot in history.slots
    ]
    scale = f"{number(top)} {unit}"
    plot = Plot(len(values), words, scale, bars(values, top), hints=hints(said))
    return Panel("Requests", f"{whole.requests:,}", average, plot)


def _errors(history: History) -> Panel:
    slots, whole = history.slots, history.whole
    own = [slot.function_errors / (slot.requests or 1) for slot in slots]
    ours = [slot.platform_errors / (slot.requests or 1) for slot in slots]
    top = ceiling(max(slot.error_share for slot in slots)) if whole.errors else 1.0
    said = [
        f"{_clock(history, slot)}: {_whose(slot)} of {slot.requests:,}"
        if slot.errors
        else ""
        for slot in slots
    ]
    words = f"Share of errors over the last {history.window.words}: "
    words += f"{share(whole.error_share)} of all requests, at most {share(top)}."
    drawn = bars(own, top, "warn") + bars(ours, top, "bad", below=own)
    plot = Plot(len(slots), words, share(top), drawn, hints=hints(said))
    legend = (
        ("warn", "function errors: 5xx, crashed, timed out"),
        ("bad", "platform errors: busy, unavailable"),
    )
    return Panel("Errors", share(whole.error_share), _whose(whole), plot, legend)


def _times(history: History) -> Panel:
    slots, whole = history.slots, history.whole
    halves = [slot.p50 for slot in slots]
    slow = [slot.p95 for slot in slots]
    top = ceiling(max((value for value in slow if value), default=1.0))
    words = f"Time to answer over the last {history.window.words}: half within "
    words += f"{duration(whole.p50)}, 95 % within {duration(whole.p95)}."
    said = [
        f"{_clock(history, slot)}: p50 {duration(slot.p50)}, p95 {duration(slot.p95)}"
        if slot.requests
        else ""
        for slot in slots
    ]
    lines = [("p95", line(slow, top)), ("p50", line(halves, top))]
    plot = Plot(len(slots), words, duration(top), lines=lines, hints=hints(said))
    legend = (("p50", "p50"), ("p95", "p95"))
    note = f"p95 {duration(whole.p95)}"
    return Panel("Time to answer", duration(whole.p50), note, plot, legend)


def _whose(tally: Tally) -> str:
    if not tally.errors:
        return "none"
    parts = []
    if tally.function_errors:
        parts.append(counted(tally.function_errors, "function error"))
    if tally.platform_errors:
        parts.append(counted(tally.platform_errors, "platform error"))
    return ", ".join(parts)


def _clock(history: History, slot: Tally) -> str:
    moment = datetime.fromtimestamp(slot.minute * 60, UTC)
    return moment.strftime("%H:%M" if history.window.length <= 60 else "%a %H:%M")


def counted(amount: int, thing: str) -> str:
    """`1 request`, `1,234 requests`."""
    return f"{amount:,} {thing}{'' if amount == 1 else 's'}"


def number(value: float) -> str:
    """Two significant digits below ten, none after the point above."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def share(value: float) -> str:
    """`0.25 %` of 0.0025."""
    percent = value * 100
    return f"{percent:.0f} %" if percent >= 10 or not percent else f"{percent:.2g} %"


def duration(seconds: float | None) -> str:
    """`0.31 ms`, `42 ms`, `1.5 s`."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{number(seconds * 1000)} ms"
    return f"{number(seconds)} s"
