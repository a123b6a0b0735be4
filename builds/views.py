"""The build page: what happens now, the log while it grows, cancel and download."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from applications.fragments import fragment, version
from applications.work import State
from builds import build as work
from builds import log, transcript
from builds.models import Build

TAIL = 1000
TAIL_MAX = 20_000
PER_POLL = 2000
USUAL_OF = 5


@require_GET
def build(request: HttpRequest, pk: int) -> HttpResponse:
    """One build with the end of its log; everything works without JavaScript too."""
    row = get_object_or_404(_builds(), pk=pk)
    tail = _number(request.GET.get("tail"), TAIL, TAIL_MAX)
    after = max(0, row.log_lines - tail)
    lines = log.lines(row, after, tail + PER_POLL)
    steps = transcript.steps(lines, "Earlier lines" if after else "Preparing")
    context = _context(row, lines, after) | {
        "steps": steps,
        "open_step": steps[-1].first if steps else 0,
        "skipped": after,
        "more": min(tail + 2 * PER_POLL, TAIL_MAX),
    }
    return render(request, "builds/build.html", context)


@fragment
@require_GET
def build_part(request: HttpRequest, pk: int) -> HttpResponse:
    """The state, and the lines after a cursor; 204 when there is nothing new."""
    row = get_object_or_404(_builds(), pk=pk)
    after = _number(request.GET.get("after"), 0)
    step = _number(request.GET.get("step"), 0)
    lines = log.lines(row, after, PER_POLL)
    context = _context(row, lines, after)
    if not lines and request.GET.get("seen") == context["version"]:
        return HttpResponse(status=204)
    steps = transcript.steps(lines, "" if step else "Preparing")
    continued = steps.pop(0) if steps and not steps[0].title else None
    context |= {
        "continued": continued,
        "step": step,
        "steps": steps,
        "open_step": steps[-1].first if steps else step,
        "is_part": True,
    }
    return render(request, "builds/_build.html", context)


@require_POST
def build_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for a stop; the worker kills the command within a second."""
    row = get_object_or_404(_builds(), pk=pk)
    if work.cancel(row.pk, request.user.get_username()[:150]):
        row.refresh_from_db(fields=["state"])
        end = "is cancelled" if row.is_final else "is being cancelled"
        messages.success(request, f"The build {end}.")
    else:
        messages.info(request, "The build had ended already.")
    return redirect(row)


@require_GET
def build_log_raw(request: HttpRequest, pk: int) -> StreamingHttpResponse:
    """The whole stored log as plain text; `?download` saves it as a file."""
    row = get_object_or_404(_builds(), pk=pk)
    response = StreamingHttpResponse(
        log.whole(row), content_type="text/plain; charset=utf-8"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    if "download" in request.GET:
        name = f"build-{row.pk}.log"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _builds() -> QuerySet[Build]:
    return Build.objects.select_related(
        "function__application", "revision", "sync", "reused_from__revision"
    )


def _context(row: Build, lines: list[transcript.Line], after: int) -> dict[str, Any]:
    live = row.function.deployments.live().first()
    ahead = _ahead(row) if row.state == State.QUEUED else None
    is_settled = row.is_final and not _is_going_live(row)
    facts = (row.state, row.attempt, row.cancel_requested_at, live and live.pk)
    return {
        "build": row,
        "live": live,
        "is_live": live is not None and live.build_id == row.pk,
        "is_settled": is_settled,
        "ahead": ahead,
        "usual": _usual(row) if not row.is_final else None,
        "cursor": lines[-1][0] if lines else after,
        "version": version(*facts, ahead, is_settled),
    }


def _is_going_live(row: Build) -> bool:
    """Succeeded a moment ago and not deployed yet: a page that stopped looking now
    would never show what serves."""
    just_now = timezone.now() - timedelta(seconds=10)
    is_fresh = row.finished_at is not None and row.finished_at > just_now
    succeeded = row.state == State.SUCCEEDED
    return succeeded and is_fresh and not row.deployments.exists()


def _ahead(row: Build) -> int:
    """How many builds come before this one."""
    earlier = Build.objects.filter(state=State.QUEUED, pk__lt=row.pk).count()
    return earlier + Build.objects.filter(state=State.RUNNING).count()


def _usual(row: Build) -> tuple[float, float] | None:
    """Seconds of the shortest and longest of the function's last real builds."""
    recent = Build.objects.filter(
        function=row.function_id, state=State.SUCCEEDED, reused_from=None
    ).order_by("-pk")[:USUAL_OF]
    took = [b.duration.total_seconds() for b in recent if b.duration is not None]
    return (min(took), max(took)) if took else None


def _number(text: str | None, default: int, maximum: int = 10**9) -> int:
    return (
        min(int(text), maximum)
        if text and text.isascii() and text.isdigit()
        else default
    )
