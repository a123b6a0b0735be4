"""The control plane as a WSGI application, served on a unix socket."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerverless_site.settings")
application = get_wsgi_application()
