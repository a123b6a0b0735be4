"""Does a command run whatever stands on its standard input? Pure.

A function that runs once per request gets the caller's body there. An image whose
command is only an interpreter, as `FROM python` without CMD leaves it, would let every
caller run code of their own. Only what surely reads its program there is named.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence

# By name without its version: the letters of options that give it a program, or make it
# do something else and end; and what a file for it may be called.
_INTERPRETERS = {
    **dict.fromkeys(
        ("sh", "ash", "bash", "dash", "ksh", "zsh", "fish"), ("c", "run.sh")
    ),
    **dict.fromkeys(("python", "pypy", "ipython"), ("cmhV", "app.py")),
    **dict.fromkeys(("node", "nodejs"), ("ephvcr", "server.js")),
    **dict.fromkeys(("deno", "bun", "ts-node"), ("ephvc", "server.ts")),
    **dict.fromkeys(("ruby", "irb", "jruby"), ("ehvCSr", "app.rb")),
    "perl": ("eEhvV", "app.pl"),
    "php": ("rfSRBFEvhmi", "app.php"),
    **dict.fromkeys(("lua", "luajit"), ("evl", "app.lua")),
    "jshell": ("hv", "App.java"),
    **dict.fromkeys(("iex", "elixir"), ("ehvS", "app.exs")),
    **dict.fromkeys(("erl", "ghci", "julia", "R", "guile", "racket"), ("efhv", "app")),
    **dict.fromkeys(("ocaml", "sbcl", "swipl", "tclsh", "scala"), ("efhv", "app")),
    "pwsh": ("cfhv", "run.ps1"),
}
_VERSION = re.compile(r"-?[0-9][0-9.]*[a-z]?\Z")
# What only starts the words behind it, as the entry points of official images do.
_STARTERS = re.compile(
    r"env|exec|nohup|busybox|tini|tini-static|docker-init|dumb-init|catatonit"
    r"|docker-entrypoint\.sh|docker-php-entrypoint|__cacert_entrypoint\.sh"
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SHELLS = {"sh", "ash", "bash", "dash", "ksh", "zsh"}


def problem(command: Sequence[str]) -> str:
    """Why a command must not take requests, and the line to add; empty for others."""
    found = _reading(list(command))
    if found is None:
        return ""
    program, file = found
    return (
        f'The image\'s command, "{" ".join(command)}", is an interpreter and nothing '
        "else: it would run whatever a caller sends as the request's body. End the "
        f'Dockerfile with your program, for example CMD ["{program}", "{file}"].'
    )


def _reading(words: list[str]) -> tuple[str, str] | None:
    """The interpreter that reads standard input, and a file to give it in place."""
    while words and (_is_starter(words[0]) or _ASSIGNMENT.match(words[0])):
        is_starter = not _ASSIGNMENT.match(words[0])
        words = words[1:]
        while is_starter and words and words[0].startswith("-"):
            words = words[1:]
    if not words:
        return None
    program, arguments = words[0], words[1:]
    name = _name(program)
    if name in _SHELLS and len(arguments) == 2 and arguments[0] in {"-c", "-lc", "-ec"}:
        return _reading(_split(arguments[1]))  # the shell form of CMD
    if name not in _INTERPRETERS:
        return None
    letters, file = _INTERPRETERS[name]
    return None if _gives_program(name, letters, arguments) else (program, file)


def _is_starter(word: str) -> bool:
    return _STARTERS.fullmatch(posixpath.basename(word)) is not None


def _name(program: str) -> str:
    return _VERSION.sub("", posixpath.basename(program))


def _split(script: str) -> list[str]:
    try:
        words = shlex.split(script, comments=True)
    except ValueError:
        return []
    return words if all(re.fullmatch(r"[\w./=:@%+-]+", one) for one in words) else []


def _gives_program(name: str, letters: str, arguments: list[str]) -> bool:
    """Whether there is a file, or an option that stands for a program."""
    for argument in arguments:
        if argument == "-" or (argument == "-s" and name in _SHELLS):
            return False
        if not argument.startswith("-"):
            return True
        if argument.startswith("--"):
            # Of long options few are safe to know: only those that give no program.
            if argument not in {"--login", "--interactive", "--no-save", "--vanilla"}:
                return True
        elif set(argument[1:]) & set(letters):
            return True
    return False
