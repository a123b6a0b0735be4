"""Addresses of builds."""

from __future__ import annotations

from django.urls import path

from builds import registry_views, views

urlpatterns = [
    path("builds/<int:pk>", views.build, name="build"),
    path("builds/<int:pk>/cancel", views.build_cancel, name="build_cancel"),
    path("builds/<int:pk>/log", views.build_log_raw, name="build_log_raw"),
    path("registries", registry_views.registries, name="registries"),
    path(
        "registries/<int:pk>/remove",
        registry_views.registry_remove,
        name="registry_remove",
    ),
    path("partials/builds/<int:pk>", views.build_part, name="build_part"),
]
