"""URL space: the control plane under /-/, functions own the root (DESIGN section 4)."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView

from runtime.django_view import function_view
from zerverless_site import application_views, views

_to_dashboard = login_not_required(RedirectView.as_view(url="/-/"))
_to_admin = login_not_required(RedirectView.as_view(url="/-/admin/"))

_pages: list[URLPattern | URLResolver] = [
    path("", views.overview, name="overview"),
    path("activity", views.activity, name="activity"),
    path("system", views.system, name="system"),
    path("theme", views.theme, name="theme"),
    path("setup", views.first_setup, name="setup"),
    path(
        "login",
        auth.LoginView.as_view(
            template_name="zerverless_site/login.html", redirect_authenticated_user=True
        ),
        name="login",
    ),
    path("logout", auth.LogoutView.as_view(), name="logout"),
    path("admin/", admin.site.urls),
    path("partials/overview", views.overview_part, name="overview_part"),
    path("partials/activity", views.activity_part, name="activity_part"),
]

_application = "applications/<slug:namespace>/<slug:name>"
_applications = [
    path("applications/", application_views.applications, name="applications"),
    path(
        "partials/applications",
        application_views.applications_part,
        name="applications_part",
    ),
    path("applications/new", application_views.application_new, name="application_new"),
    path(_application, application_views.application, name="application"),
    path(
        f"{_application}/sync",
        application_views.application_sync,
        name="application_sync",
    ),
    path(
        f"{_application}/delete",
        application_views.application_delete,
        name="application_delete",
    ),
    path(
        "partials/applications/<int:pk>",
        application_views.application_part,
        name="application_part",
    ),
    path("syncs/<int:pk>", application_views.sync, name="sync"),
    path("partials/syncs/<int:pk>", application_views.sync_part, name="sync_part"),
]

_control_plane = [
    *_pages,
    *_applications,
    path("", include("applications.urls")),
    path("", include("builds.urls")),
    path("", include("runtime.urls")),
]

urlpatterns = [
    path("", _to_dashboard),
    path("admin", _to_admin),
    path("admin/", _to_admin),
    path("-/", include(_control_plane)),
    # Last: /<namespace>/<path> is a function. A name never begins with a hyphen, so
    # nothing below /-/ can get here.
    re_path(
        r"^(?P<namespace>[a-z0-9][a-z0-9-]*)(?:/(?P<path>[\s\S]*))?\Z",
        function_view,
        name="function_call",
    ),
]
