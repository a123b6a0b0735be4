"""URL space: the control plane under /-/, functions own the root (DESIGN section 4)."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("-/admin/", admin.site.urls),
]
