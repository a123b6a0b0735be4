"""Addresses of applications that need nothing but applications."""

from __future__ import annotations

from django.urls import path

from applications import views

urlpatterns = [
    path(
        "applications/<slug:namespace>/<slug:name>/edit",
        views.application_edit,
        name="application_edit",
    ),
    path("schema/v1/application.json", views.schema, name="schema"),
    path("partials/connection", views.connection_result, name="connection_result"),
    path("partials/connection/<int:pk>", views.connection_part, name="connection_part"),
]
