"""What the admin must not offer: django-q's tables, which can name any function to run.

Whoever could edit them would run code in the workers (threat 88). Our own rows say
everything the queue could.
"""

from __future__ import annotations

from django.contrib import admin
from django_q.models import Failure, OrmQ, Schedule, Success

for model in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

admin.site.site_header = "Zerverless"
admin.site.site_title = "Zerverless admin"
admin.site.index_title = "Records"
admin.site.site_url = "/-/"
