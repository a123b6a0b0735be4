"""Answers with JSON made from its environment and standard input."""

from __future__ import annotations

import json
import os
import sys

print(  # noqa: T201
    json.dumps(
        {
            "method": os.environ["REQUEST_METHOD"],
            "query": os.environ["QUERY_STRING"],
            "name": os.environ.get("INPUT_NAME"),
            "body": sys.stdin.read(),
        }
    )
)
