"""How states, times, sizes and untrusted text look on every page."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from applications.plain_text import ANSI
from applications.quantities import show_size
from applications.work import State
from runtime import hosts, panels, serving

register = template.Library()

# State or status -> (tone, icon, words). Never colour alone: the word is always there.
STATES = {
    "queued": ("", "clock", "Queued"),
    "running": ("info", "spin", "Running"),
    "succeeded": ("ok", "check", "Succeeded"),
    "failed": ("bad", "cross", "Failed"),
    "errored": ("bad", "alert", "Platform error"),
    "cancelled": ("", "dash", "Cancelled"),
    "synced": ("ok", "check", "Up to date"),
    "out_of_sync": ("warn", "alert", "Out of sync"),
    "unknown": ("", "dash", "Not checked yet"),
    "unreachable": ("bad", "cross", "Git unreachable"),
    "healthy": ("ok", "check", "Healthy"),
    "progressing": ("info", "spin", "Building"),
    "degraded": ("warn", "alert", "Degraded"),
    "missing": ("bad", "cross", "Not serving"),
    "serving": ("ok", "check", "Live"),
    "retired": ("", "dash", "Retired"),
    "empty": ("", "dash", "No functions"),
    "reused": ("ok", "check", "Image reused"),
    "waiting": ("", "dash", "Waiting"),
    "skipped": ("", "dash", "Skipped"),
    "ok": ("ok", "check", "OK"),
    "problem": ("bad", "cross", "Problem"),
    "starting": ("info", "spin", "Starting"),
    "ready": ("ok", "check", "Ready"),
    "pausing": ("", "clock", "Pausing"),
    "paused": ("", "clock", "Paused"),
    "resuming": ("info", "spin", "Resuming"),
    "ending": ("", "dash", "Ending"),
}

_PROGRESS = re.compile(r"^#\d+ (?:\d+\.\d+ )?")
# Control, bidirectional and zero-width characters can make a text look like another.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)


@register.inclusion_tag("_state.html")
def state(value: str, pill: str = "") -> dict[str, str]:
    """An icon and a word for a state, a status or a health; `pill` gives it a shape."""
    tone, icon, words = STATES.get(str(value), ("", "dash", str(value)))
    return {"tone": tone, "icon": icon, "words": words, "pill": pill}


@register.filter
def state_words(value: str) -> str:
    """The word alone, for titles."""
    return STATES.get(str(value), ("", "", str(value)))[2]


# What became of a commit whose build ended in a state.
_NOT_BUILT = {
    State.FAILED: "failed to build",
    State.ERRORED: "could not be built, by a fault of the platform",
    State.CANCELLED: "was not built: cancelled",
}


@register.filter
def not_built(function: Any) -> str:
    """`failed to build`, where the newest commit of a function does not serve."""
    if not serving.is_behind(function):
        return ""
    said = _NOT_BUILT.get(function.newest_state, "was not built")
    by = function.newest_cancelled_by
    return f"{said} by {by}" if by and function.newest_state == "cancelled" else said


@register.filter
def failing(function: Any) -> str:
    """`27 % of the last 150 requests failed`, where that is what makes it degraded."""
    if not serving.is_failing(function):
        return ""
    wrong = panels.share(function.recent_errors / function.recent_requests)
    many = panels.counted(function.recent_requests, "request")
    return f"{wrong} of {many} failed in the last {serving.RECENT_MINUTES} minutes"


@register.filter
def ago(when: datetime | None) -> str | SafeString:
    """`3 min ago` as a <time> that app.js keeps true."""
    if when is None:
        return "never"
    seconds = (timezone.now() - when).total_seconds()
    words = f"in {_span(-seconds)}" if seconds < 0 else f"{_span(seconds)} ago"
    return format_html(
        '<time datetime="{}" title="{}" data-relative>{}</time>',
        when.isoformat(),
        when.strftime("%Y-%m-%d %H:%M:%S UTC"),
        words,
    )


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


@register.filter
def elapsed(work: Any) -> str | SafeString:
    """How long a piece of work ran; a clock that app.js advances while it runs."""
    if work.duration is None:
        return ""
    words = span(work.duration)
    if work.is_final:
        return words
    return format_html(
        '<time datetime="{}" data-since>{}</time>', work.started_at.isoformat(), words
    )


@register.filter
def span(length: timedelta | float | None) -> str:
    """A length of time (timedelta or seconds) as a person says it: `2 min 5 s`."""
    if length is None:
        return ""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


@register.filter
def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits, or seconds when there are many."""
    if value is None:
        return ""
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.3g} ms"


@register.filter
def visible(text: object) -> str:
    """Untrusted text with terminal codes dropped and hidden characters shown.

    Carriage returns keep what a terminal would still show: the last part of the line.
    The result is an ordinary string: the template escapes it.
    """
    plain = ANSI.sub("", str(text))
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in plain.split("\n")]
    return _INVISIBLE.sub(lambda m: f"\\u{ord(m[0]):04x}", "\n".join(lines))


@register.filter
def without_progress(line: str) -> str:
    """A line of a log without BuildKit's number and clock, which its step says."""
    return visible(_PROGRESS.sub("", line, count=1))


@register.filter
def around(text: str, line: int) -> list[tuple[int, str, bool]]:
    """Five lines of source around `line`: (number, text, whether it is the one)."""
    rows = text.split("\n")
    first = max(1, line - 2)
    return [
        (number, visible(rows[number - 1][:300]), number == line)
        for number in range(first, min(len(rows), line + 2) + 1)
    ]


@register.filter
def sentence(text: str) -> str:
    """The first line of an error: what went wrong and what to do."""
    return visible(text.split("\n", 1)[0])


@register.filter
def full_stop(text: str) -> str:
    """A sentence that another may follow."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


@register.filter
def details(text: str) -> str:
    """The lines after it: the command and its own words."""
    return visible(text.partition("\n")[2].strip("\n").rstrip())


@register.filter
def runs_as(config: dict[str, Any] | None) -> list[str]:
    """What kind of function a deployment is, in a few words each."""
    if not config or not config.get("port"):
        return ["one container per request"]
    fewest, most = config.get("min_instances", 0), config.get("max_instances", 4)
    many = f"{fewest} to {most}" if fewest != most else str(most)
    said = [
        f"server on port {config['port']}",
        f"{many} instance{'' if many == '1' else 's'}",
    ]
    if fewest < most and (idle := config.get("idle")):
        said.append(f"idle after {span(idle)}")
    return said


@register.filter
def limits(config: dict[str, Any]) -> list[str]:
    """What a deployment may use, in a few words each."""
    said = []
    if timeout := config.get("timeout"):
        said.append(f"{span(timeout)} per request")
    if memory := config.get("memory"):
        said.append(f"{size(memory)} memory")
    if network := config.get("network"):
        said.append(f"network {network}")
    if methods := config.get("methods"):
        said.append(" ".join(methods))
    return said


@register.inclusion_tag("runtime/_phases.html")
def phases(milliseconds: dict[str, float], took_ms: float = 0) -> dict[str, Any]:
    """A bar of what a request of `took_ms` spent its time on, and the same in words.

    What no phase tells, as the time the client took, is a part of its own, so that the
    parts add up to what the request took.
    """
    parts = {name: took for name, took in milliseconds.items() if name != "total"}
    rest = took_ms - sum(parts.values())
    if parts and rest > took_ms / 100:
        parts["other"] = rest
    whole = sum(parts.values()) or 1
    bars, left = [], 0.0
    for name, took in parts.items():
        bars.append((name, took, round(left, 2), round(100 * took / whole, 2)))
        left += 100 * took / whole
    return {"bars": bars}


@register.filter
def status_class(status: int) -> str:
    """The tone of an HTTP status."""
    return "bad" if status >= 500 else "warn" if status >= 400 else "ok"


@register.filter
def size(amount: float | None) -> str:
    """Bytes in powers of 1024: `256 MiB`, `1.5 GiB`, `612 B`."""
    return show_size(amount or 0)


@register.filter
def commit(sha: str) -> str:
    """The first seven characters of a commit, as Git shows it."""
    return sha[:7]


@register.simple_tag
def function_url(function: Any) -> str:
    """The whole public address of a function."""
    return hosts.address_of(function.namespace, function.path)


@register.simple_tag
def function_own_url(function: Any) -> str:
    """Its address at its namespace's own host name, where that is a second one."""
    own = hosts.own_address_of(function.namespace, function.path)
    return "" if hosts.are_apart() else own
