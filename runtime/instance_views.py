"""Running instances: which a function has, and what one of them says."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from applications.errors import ZerverlessError
from applications.fragments import fragment, unless_seen, version
from applications.models import Function
from applications.redact import redact
from runtime import engine
from runtime.models import Instance, InstanceState

LINES = 200


def of_function(function: Function) -> dict[str, Any]:
    """What a page shows of a function's instances; one query."""
    rows = list(_rows().filter(deployment__function=function))
    facts = [(row.pk, row.state, row.in_flight, row.last_used_at) for row in rows]
    return {"instances": rows, "instances_version": version(facts)}


def _rows() -> QuerySet[Instance]:
    return Instance.objects.present().select_related("deployment")


@fragment
@require_GET
def instances_part(request: HttpRequest, pk: int) -> HttpResponse:
    """The instances of one function."""
    function = get_object_or_404(Function, pk=pk)
    context = of_function(function)
    context |= {"function": function, "version": context["instances_version"]}
    return unless_seen(request, "runtime/_instances.html", context)


@require_GET
def instance(request: HttpRequest, name: str) -> HttpResponse:
    """One instance with the end of its log."""
    row = (
        _rows()
        .select_related("deployment__function__application")
        .filter(pk=name)
        .first()
    )
    if row is None:
        raise Http404("This instance has ended.")
    return render(request, "runtime/instance.html", {"instance": row, **_log(row)})


@fragment
@require_GET
def instance_logs(request: HttpRequest, name: str) -> HttpResponse:
    """The end of its log; of an instance that is gone, that it is gone."""
    row = _rows().filter(pk=name).first()
    if row is None:
        return render(request, "runtime/_instance_log.html", {"instance": None})
    return unless_seen(
        request, "runtime/_instance_log.html", {"instance": row, **_log(row)}
    )


def _log(row: Instance) -> dict[str, Any]:
    """The last lines it wrote, both outputs together, from the engine."""
    problem, text = "", ""
    if row.state != InstanceState.STARTING:
        try:
            text = engine.logs(row.name, LINES).decode("utf-8", "replace")
        except ZerverlessError as error:
            problem = error.message
    text = redact(text.rstrip("\n"))
    facts = version(text, problem, row.state, row.in_flight)
    return {"log": text, "problem": problem, "version": facts}
