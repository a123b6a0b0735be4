"""The manifest's schema is public, for editors."""

from __future__ import annotations

import json

from django.test import Client


def test_editors_get_the_schema_without_logging_in(visitor: Client) -> None:
    response = visitor.get("/-/schema/v1/application.json")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/schema+json"
    assert json.loads(response.content)["title"]
