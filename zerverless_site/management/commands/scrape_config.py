"""Print what Prometheus needs to scrape this installation."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand

_CONFIG = """\
scrape_configs:
  - job_name: zerverless
    scheme: {scheme}
    static_configs:
      - targets: [{target}]
    authorization:
      credentials: {token}
"""


class Command(BaseCommand):
    """Prints the lines for prometheus.yml, the token of `/metrics` among them."""

    help = "Print the lines for prometheus.yml, with the token of /metrics."

    def handle(self, *args: Any, **options: Any) -> None:
        base = urlsplit(settings.ZERVERLESS_BASE_URL)
        text = _CONFIG.format(
            scheme=base.scheme,
            target=json.dumps(base.netloc),  # every JSON text is one of YAML
            token=json.dumps(settings.ZERVERLESS_METRICS_TOKEN),
        )
        self.stdout.write(text, ending="")
