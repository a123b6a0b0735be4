"""The charts of a function, on its page and as a part of it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_GET

from applications.fragments import fragment, unless_seen, version
from applications.models import Function
from runtime import history, panels
from runtime.history import HOUR, WINDOWS


def of_function(request: HttpRequest, function: Function) -> dict[str, Any]:
    """The charts of the window the request asks for; read only when they are drawn."""
    window = WINDOWS.get(request.GET.get("traffic", ""), HOUR)
    return {
        "windows": WINDOWS.values(),
        "window": window,
        "traffic": SimpleLazyObject(partial(_traffic, function.pk, window)),
    }


def _traffic(pk: int, window: history.Window) -> dict[str, Any]:
    found = history.of_function(pk, window)
    return {
        "whole": found.whole,
        "cold_mean": panels.duration(found.whole.cold_mean),
        "panels": panels.panels(found),
        "rows": panels.rows(found),
        "version": version(found.fact),
    }


def with_brief(functions: list[Any]) -> list[Any]:
    """Give each function `brief`, its last hour in a line, or None; one query."""
    found = history.of_functions(function.pk for function in functions)
    for function in functions:
        function.brief = panels.brief(found[function.pk])
    return functions


@fragment
@require_GET
def traffic_part(request: HttpRequest, pk: int) -> HttpResponse:
    """The charts alone."""
    function = get_object_or_404(Function, pk=pk)
    context = of_function(request, function)
    context |= {"function": function, "version": context["traffic"]["version"]}
    return unless_seen(request, "runtime/_traffic.html", context)
