"""Takes credentials out of text before it is stored, shown or logged."""

from __future__ import annotations

import re

_SECRETS = re.compile(
    r"(?i)(://)[^/\s@]+(?=@)"  # userinfo of a URL
    r"|((?:token|secret|password|passwd|api_?key)=)[^&\s\"']+"  # query parameters
    r"|(authorization:\s*(?:basic|bearer|token)\s+)\S+"  # headers
)


def redact(text: str) -> str:
    """`text` with every credential replaced by `***`."""
    return _SECRETS.sub(lambda m: f"{m[1] or m[2] or m[3]}***", text)
