"""The one thing we must read in a Dockerfile: which frontend it asks for. Pure.

`# syntax=IMAGE` makes the daemon fetch an image and let it interpret the file, so it
must be one we trust. BuildKit also takes the directive after `//` and as JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from builds.errors import BuildError

_BOM = "\ufeff"
_DIRECTIVE = re.compile(r"\A\s*(#|//)\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*\Z")
_ALLOWED = re.compile(
    r"\A(?:docker\.io/)?docker/dockerfile(?:-upstream)?"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z"
)


# Those that keep cache mounts apart and know heredocs; a digest does not tell which.
_CURRENT = re.compile(
    r"\A(?:docker\.io/)?docker/dockerfile"
    r"(?::(?:latest|labs|1(?:\.(?:[4-9]|[1-9][0-9]+)(?:\.[0-9]+)?)?(?:-labs)?))?\Z"
)


@dataclass(frozen=True)
class Frontend:
    """The image of a syntax directive and the 1-based line it is on."""

    image: str
    line: int

    @property
    def is_current(self) -> bool:
        """Whether it is known to do what is asked of it; any other is not used."""
        return bool(_CURRENT.match(self.image))


def frontend(text: str, name: str = "Dockerfile") -> Frontend | None:
    """The frontend the file asks for, or None; raises BuildError for a foreign one."""
    text = text.removeprefix(_BOM)
    if text.lstrip().startswith("{"):
        raise BuildError(
            f"{name}:1: a Dockerfile cannot begin with a brace.", "build:syntax"
        )
    for number, mark, key, value in _directives(text):
        if key == "syntax":
            image = value.split(" ", 1)[0]
            if mark != "#" or not _ALLOWED.match(image):
                raise BuildError(
                    f"{name}:{number}: # syntax={image[:100]} is not allowed: only "
                    "docker/dockerfile and docker/dockerfile-upstream are. Remove the "
                    "line, or write # syntax=docker/dockerfile:1.",
                    "build:syntax",
                )
            return Frontend(image, number)
    return None


def without_frontend(text: str) -> str:
    """The same file, line for line, for the frontend that is built into Docker."""
    found = frontend(text)
    if found is None:
        return text
    lines = text.split("\n")
    del lines[found.line - 1]
    # Directives must stay first, and a comment that is none ends them: the stand-in
    # for the line taken out goes behind the last one.
    last = max((n for n, *_ in _directives("\n".join(lines))), default=0)
    lines.insert(last, "#")
    return "\n".join(lines)


def _directives(text: str) -> list[tuple[int, str, str, str]]:
    found: list[tuple[int, str, str, str]] = []
    for number, line in enumerate(text.removeprefix(_BOM).split("\n"), start=1):
        if number == 1 and line.startswith("#!"):
            continue
        match = _DIRECTIVE.match(line)
        if match is None:
            break
        found.append((number, match[1], match[2].lower(), match[3]))
    return found
