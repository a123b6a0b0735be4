"""Content-Type: what is one, and of which a browser never makes an active page. Pure.

A browser decides by it whether an answer is a document that can run script. Spellings
that browsers and we might read differently (`text/plain, text/html` is HTML to
Chromium, `text/xsl` is XML) are therefore refused or taken for the worst.
"""

from __future__ import annotations

import re
from functools import lru_cache

# What no browser runs script in, wherever it is opened. Everything else is confined,
# which does no harm to what is not opened as a page: scripts, styles, fonts, data.
INERT = frozenset(
    """
    application/gzip application/json application/manifest+json
    application/octet-stream application/problem+json application/vnd.api+json
    application/x-ndjson application/x-www-form-urlencoded application/zip
    audio/mpeg audio/ogg audio/wav audio/webm font/otf font/ttf font/woff font/woff2
    image/avif image/bmp image/gif image/jpeg image/png image/vnd.microsoft.icon
    image/webp image/x-icon text/css text/csv text/event-stream text/plain
    video/mp4 video/ogg video/webm
    """.split()  # noqa: SIM905
)

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110, section 5.6.2
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t -~])*"'
_TYPE = rf"{_TOKEN}/{_TOKEN}"
_MEDIA_TYPE = re.compile(
    rf"{_TYPE}(?:[ \t]*;[ \t]*(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?)*[ \t]*\Z"
)
# Without quotes, in which a comma or a semicolon could hide from one of two readers.
_PLAIN = re.compile(rf"({_TYPE})(?:[ \t]*;[ \t]*(?:{_TOKEN}={_TOKEN})?)*\Z")


@lru_cache(maxsize=1024)
def is_media_type(value: str) -> bool:
    """Whether a text is one media type (RFC 9110, section 8.3.1)."""
    return _MEDIA_TYPE.match(value) is not None


@lru_cache(maxsize=1024)
def is_inert(value: str) -> bool:
    """Whether no browser makes an active page of an answer with this Content-Type."""
    match = _PLAIN.match(value)
    return match is not None and match[1].lower() in INERT
