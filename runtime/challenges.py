"""WWW-Authenticate of functions on a host that namespaces share. Pure.

A browser keeps a password by host and realm and shows it to whoever asks for that
realm again, and to what lies in the same directory without being asked.
"""

from __future__ import annotations

import re

_BASIC = re.compile(r"(?:\A|,)[ \t]*basic(?![ \t]*=)(?:[ \t]|,|\Z)", re.I)
_REALM = re.compile(r'\brealm[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))', re.I)
_UTF_8 = re.compile(r'\bcharset[ \t]*=[ \t]*"?utf-8', re.I)


def own(value: str, prefix: str, path: str) -> str | None:
    """A challenge whose realm is the function's own; None where it is not passed on.

    `prefix` is the function's path and `path` that of the request: in the root
    directory a password would be sent along with everything.
    """
    if not _BASIC.search(value):
        return value  # browsers keep no password for what they do not know
    if path.count("/") < 2:
        return None
    match = _REALM.search(value)
    realm = (match[1] or match[2] or "") if match else ""
    charset = ', charset="UTF-8"' if _UTF_8.search(value) else ""
    return f'Basic realm="{prefix} {realm}"{charset}'
