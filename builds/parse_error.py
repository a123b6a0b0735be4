"""Shows what Docker's parser refuses at its place in the Dockerfile. Pure."""

from __future__ import annotations

import re
from difflib import get_close_matches

from builds.errors import BuildError

_INSTRUCTIONS = (
    *(
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
    ),
    *("LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME"),
    "WORKDIR",
)
_PARSER = re.compile(r"(?i)dockerfile parse error (?:on )?line (\d+): (.+)")
_UNKNOWN = re.compile(r"unknown instruction: (\S+)")
_AROUND = 2
_LINE_MAX = 200


def located(error: BuildError, text: str, file: str) -> BuildError:
    """The error with file, line, column, a suggestion and the source; any other error
    of a build as it is."""
    found = _PARSER.search(error.message)
    lines = text.split("\n")
    if not found or not 0 < int(found[1]) <= len(lines):
        return error
    number = int(found[1])
    line = lines[number - 1].rstrip("\r")
    column = len(line) - len(line.lstrip()) + 1
    said = _words(found[2].strip(), lines[: number - 1])
    message = f"{file}:{number}:{column}: {said}\n{_source(lines, number)}"
    return BuildError(message, "build:dockerfile", line.strip()[:_LINE_MAX])


def _words(said: str, before: list[str]) -> str:
    unknown = _UNKNOWN.search(said)
    if not unknown:
        return said if said.endswith(".") else f"{said}."
    word = unknown[1]
    close = get_close_matches(word.upper(), _INSTRUCTIONS, n=1)
    if close:
        return f'unknown instruction "{word}": did you mean {close[0]}?'
    hint = ""
    if any("<<" in line for line in before):
        hint = (
            " If this line is the body of a heredoc (<<EOF): heredocs need Docker 23 "
            "or later, or a registry within reach and # syntax=docker/dockerfile:1."
        )
    return f'unknown instruction "{word}".{hint}'


def _source(lines: list[str], number: int) -> str:
    first = max(1, number - _AROUND)
    last = min(len(lines), number + _AROUND)
    width = len(str(last))
    return "\n".join(
        f"{'>' if at == number else ' '} {at:{width}} | "
        f"{lines[at - 1].rstrip()[:_LINE_MAX]}".rstrip()
        for at in range(first, last + 1)
    )
