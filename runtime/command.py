"""Why an image's command cannot be executed: a look at the file it names.

A shell says "not found" of a script whose first line ends in CR LF, of a program whose
loader the image lacks, and of one that is not there. So the file itself is read.
"""

from __future__ import annotations

import posixpath
import re
import shlex
import struct
from collections.abc import Callable

from builds.volumes import clean
from runtime import engine, engine_files
from runtime.errors import ContainerEngineError, ContainerRefused, ImageMissing
from runtime.facts import File, Image

SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ELF = b"\x7fELF"
_LOADER = 3  # PT_INTERP: the segment that names a program's loader
_MACHINES = {  # e_machine of an ELF header, and where such a program runs
    3: ("386", "amd64"),
    40: ("arm", "arm64"),
    62: ("amd64",),
    183: ("arm64",),
    243: ("riscv64",),
}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")

Look = Callable[[str], File | None]  # at a file in the image, by its whole path


def problem(image: Image, helper: str) -> str:
    """What is wrong with the file of the image's command; empty: nothing is seen.

    `helper` names a container that is made to look into, and never started.
    """
    try:
        covered = {"Tmpfs": dict.fromkeys(map(clean, image.volumes), "")}
        config = {"Image": image.id, "Cmd": ["none"], "Entrypoint": []}
        engine.create(helper, {**config, "HostConfig": covered})
        try:
            return examine(image, lambda path: engine_files.head_of(helper, path))
        finally:
            engine.remove(helper)
    except (ContainerEngineError, ContainerRefused, ImageMissing):
        return ""  # what is known already has to do


def examine(image: Image, look: Look) -> str:
    """The same, by what `look` finds in the image. Pure."""
    program, *arguments = image.command
    found = _judge(image, look, program)
    if not found and posixpath.basename(program) in SHELLS and "-c" in arguments:
        script = arguments[arguments.index("-c") + 1 :]
        inner = _first_word(script[0]) if script else ""
        found = _judge(image, look, inner) if inner else ""
    return found


def _first_word(script: str) -> str:
    """The program a shell is asked to run first, where that is plain to see."""
    try:
        words = shlex.split(script)
    except ValueError:
        return ""
    words = [word for word in words if word != "exec" and not _ASSIGNMENT.match(word)]
    is_plain = words and re.fullmatch(r"[\w./+-]+", words[0])
    # A builtin has no file.
    return words[0] if is_plain and "/" in words[0] else ""


def _judge(image: Image, look: Look, program: str) -> str:
    name = f'its program "{posixpath.basename(program)}"'
    path = _find(image, look, program)
    file = look(path) if path else None
    if file is None:
        where = "image" if "/" in program else "image's PATH"
        return f"{name} is not in the {where}"
    if file.is_directory:
        return f"{name} is a directory"
    return (
        _of_mode(image, file, name)
        or _of_script(image, look, file, name)
        or _of_program(image, look, file, name)
        or _of_directories(image, look, path, name)
    )


def _find(image: Image, look: Look, program: str) -> str:
    """The whole path of a program; empty where PATH does not lead to it."""
    if "/" in program:
        return posixpath.join("/", image.workdir, program)
    for directory in _variable(image, "PATH", _PATH).split(":"):
        path = posixpath.join("/", image.workdir, directory, program)
        file = look(path)
        if file is not None and not file.is_directory:
            return path
    return ""


def _variable(image: Image, name: str, default: str) -> str:
    values = dict(pair.partition("=")[::2] for pair in image.env)
    return values.get(name, default)


def _of_mode(image: Image, file: File, name: str) -> str:
    advice = "write RUN chmod 755 and its path in the Dockerfile"
    if not file.mode & 0o111:
        return f"{name} is not executable (mode {file.mode:04o}): {advice}"
    if not image.user and not file.mode & 0o001:
        return f"{name} is not executable for others (mode {file.mode:04o}): {advice}"
    return ""


def _of_script(image: Image, look: Look, file: File, name: str) -> str:
    if not file.head.startswith(b"#!"):
        return ""
    line = file.head[2:].split(b"\n", 1)[0]
    if line.endswith(b"\r"):
        return (
            f"the lines of {name} end in CR LF, so the system looks for an interpreter "
            "whose name ends in CR: save it with LF (in Git: *.sh text eol=lf in "
            ".gitattributes)"
        )
    interpreter, *arguments = line.decode("utf-8", "replace").split() or [""]
    asked = [word for word in arguments if not word.startswith("-")][:1]
    if posixpath.basename(interpreter) == "env" and asked and look(interpreter):
        interpreter = asked[0]
    if _find(image, look, interpreter) and look(_find(image, look, interpreter)):
        return ""
    return f"the first line of {name} asks for {interpreter}, which is not in the image"


def _of_program(image: Image, look: Look, file: File, name: str) -> str:
    if file.head.startswith(b"#!"):
        return ""
    if not file.head.startswith(_ELF):
        return (
            f"{name} is no program for this system, and its first line does not begin "
            "with #! and an interpreter, such as #!/bin/sh"
        )
    order = ">" if file.head[5:6] == b"\x02" else "<"
    [machine] = struct.unpack_from(f"{order}H", file.head.ljust(20, b"\0"), 18)
    runs_on = _MACHINES.get(machine, (image.architecture,))
    if image.architecture and image.architecture not in runs_on:
        return f"{name} is for {runs_on[0]}, and this machine is {image.architecture}"
    loader = _loader_of(file.head, order)
    if loader and look(loader) is None:
        return (
            f"{name} needs {loader}, which is not in the image: it was linked for "
            "another base image; use that one, or link it statically"
        )
    return ""


def _loader_of(head: bytes, order: str) -> str:
    """The loader a program of 64 bits names; empty for others and without one."""
    is_wide = head[4:5] == b"\x02"
    if not is_wide or len(head) < 64:
        return ""
    [start] = struct.unpack_from(f"{order}Q", head, 32)
    size, count = struct.unpack_from(f"{order}HH", head, 54)
    for place in range(start, start + size * count, size or 1):
        if place + 56 > len(head):
            return ""
        [kind] = struct.unpack_from(f"{order}I", head, place)
        if kind == _LOADER:
            [offset] = struct.unpack_from(f"{order}Q", head, place + 8)
            [length] = struct.unpack_from(f"{order}Q", head, place + 32)
            return (
                head[offset : offset + length].rstrip(b"\0").decode("ascii", "replace")
            )
    return ""


def _of_directories(image: Image, look: Look, path: str, name: str) -> str:
    """A directory on the way that nobody but its owner may enter."""
    if image.user:
        return ""
    place = posixpath.dirname(path)
    while place != "/":
        found = look(place)
        if found is not None and found.is_directory and not found.mode & 0o001:
            return (
                f"{name} is in {place}, which only its owner may enter "
                f"(mode {found.mode:04o}), and the image names no USER: move it, or "
                f"write RUN chmod 755 {place}"
            )
        place = posixpath.dirname(place)
    return ""
