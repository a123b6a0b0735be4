"""Parts of pages that htmx fetches by themselves, at URLs of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def fragment(view: View[P]) -> View[P]:
    """404 to a plain navigation: half a page in a tab helps nobody."""

    @wraps(view)
    def wrapped(
        request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponse:
        if request.headers.get("HX-Request") != "true":
            raise Http404("This address serves a part of a page.")
        response = view(request, *args, **kwargs)
        response.headers["Vary"] = "HX-Request, Cookie"
        return response

    return wrapped


def version(*facts: object) -> str:
    """A short digest of what a fragment shows; equal facts, equal version."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def unless_seen(
    request: HttpRequest, template: str, context: Mapping[str, Any]
) -> HttpResponse:
    """The fragment, or 204 when the browser already shows `context["version"]`.

    An unchanged part is not swapped: focus, selection and open details stay.
    """
    if request.GET.get("seen") == context["version"]:
        return HttpResponse(status=204)
    return render(request, template, dict(context))
