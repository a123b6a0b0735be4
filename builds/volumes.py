"""Which VOLUMEs an image may declare: asked at the build, and before each run. Pure.

Docker makes a volume on disk, without a limit, for each that is not covered by a mount
of the same clean path; a function gets a small one in memory there.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection

MOST = 16
PATH_MAX = 1024
# Below these are the kernel's files, the devices and what starts a function ahead.
_NOT_BELOW = ("/proc", "/sys", "/dev", "/.zerverless")
_NOT = ("/", "/etc")


def clean(path: str) -> str:
    """The path as Docker uses it: from the root, without dots and double slashes."""
    return "/" + posixpath.normpath("/" + path).lstrip("/")


def problem(paths: Collection[str], *, any_spelling: bool = False) -> str:
    """Why an image must not declare these, or an empty string.

    With `any_spelling` a path may be written in more than one way, as in an image that
    was built before this was refused.
    """
    if len(paths) > MOST:
        return f"The image declares {len(paths)} volumes; at most {MOST} can be."
    reasons = (_reason(path, any_spelling=any_spelling) for path in sorted(paths))
    found = next(filter(None, reasons), "")
    return f"{found} (VOLUME, in the Dockerfile or its parent image.)" if found else ""


def _reason(path: str, *, any_spelling: bool) -> str:
    named = f"The image's VOLUME {_short(path)}"
    if not path.startswith("/"):
        return f"{named} does not begin with a slash: write it as /data."
    if not path.isprintable():
        return f"{named} holds a character that does not print."
    if len(path) > PATH_MAX:
        return f"{named} is longer than {PATH_MAX:,} characters."
    if is_below(path, *_NOT_BELOW) or clean(path) in _NOT:
        return f"{named} is not allowed: choose a directory such as /data."
    if path != clean(path) and not any_spelling:
        return (
            f"{named} is written in another way than it is used: write {clean(path)}."
        )
    return ""


def is_below(path: str, *places: str) -> bool:
    """Whether a path of an image is one of these places, or leads into one."""
    found = clean(path)
    return any(found == place or found.startswith(f"{place}/") for place in places)


def _short(path: str) -> str:
    return repr(path if len(path) <= 100 else f"{path[:99]}…")
