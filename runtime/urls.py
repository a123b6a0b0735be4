"""Addresses of the function pages; what functions answer is not here."""

from __future__ import annotations

from django.urls import path, register_converter

from runtime import instance_views, traffic_views, views


class RestConverter:
    """Everything to the end of the address, which may be nothing: the path "/"."""

    regex = ".*"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(RestConverter, "rest")

urlpatterns = [
    path("functions/", views.functions, name="functions"),
    path("partials/functions", views.functions_part, name="functions_part"),
    path("functions/<slug:namespace>/<rest:path>", views.function, name="function"),
    path("partials/functions/<int:pk>", views.function_part, name="function_part"),
    path(
        "partials/functions/<int:pk>/traffic",
        traffic_views.traffic_part,
        name="traffic_part",
    ),
    path(
        "partials/functions/<int:pk>/instances",
        instance_views.instances_part,
        name="instances_part",
    ),
    path("instances/<slug:name>", instance_views.instance, name="function_instance"),
    path(
        "partials/instances/<slug:name>/logs",
        instance_views.instance_logs,
        name="instance_logs",
    ),
]
