"""Decides what a Dockerfile may take from elsewhere: images, and what it ADDs. Pure.

ADD of a URL or a Git repository is fetched by the Docker daemon from the network it is
in itself, where the machine's private addresses answer, and no engine lets us hold it
to an address. An image is found on the Docker host by its name alone, whoever made it.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from builds.errors import BuildError
from builds.instructions import (
    SPACE,
    Instruction,
    Place,
    Word,
    escape_of,
    is_escape_open,
    read,
    shell_words,
)
from builds.variables import Undecidable, expand

# A scheme, or what Git takes for a host: user@host:path.
_REMOTE = re.compile(r"(?i)[a-z][a-z0-9+.-]*://|[a-z0-9_-]+@[a-z0-9.-]+:")
_FLAG = re.compile(r"--[a-z-]+(?:=.*)?")
# What Docker's classic builder takes for the beginning of an image's id.
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
_HUB = re.compile(r"(?:index\.|registry-1\.)?docker\.io/")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN_HEREDOC = re.compile(r"(?<!\S)[0-9]*<<-?([\"']?)[A-Za-z_]\w*\1(?!\S)")
_STRAY_RETURN = re.compile(r"\r(?!\n|\Z)")
_SHOWN = 100  # characters of a source in an error
_VALUE_MAX = 4096  # of a variable; none that names a file is longer
# Of a file: more are no Dockerfile, and would take long to read.
INSTRUCTIONS_MAX = 5000
STAGES_MAX = 200
WORDS_MAX = 1000  # of one ADD


@dataclass(frozen=True)
class Parent:
    """What an image brings into a stage that is built on it."""

    env: Mapping[str, str] = field(default_factory=dict)
    triggers: tuple[str, ...] = ()  # its ONBUILD instructions


@dataclass(frozen=True)
class Rules:
    """What a build may name."""

    prefix: str  # of the names of all images that are made here
    own: frozenset[str]  # repositories of the application's own functions
    platform: str  # of the Docker host, "linux/amd64"
    ids: bool = False  # whether the builder takes a part of an image's id for a name
    # How a parent image is looked at, where the engine itself holds back no source:
    # then what cannot be decided before the build is refused.
    parent: Callable[[str], Parent] | None = None


def check(text: str, file: str, rules: Rules, *, heredocs: bool) -> tuple[str, ...]:
    """The names of all images the file uses.

    Raises BuildError with file, line and column for a source it may not have.
    """
    walk = _Walk(file, escape_of(text), rules, heredocs=heredocs)
    if rules.parent and (_STRAY_RETURN.search(text) or is_escape_open(text)):
        raise BuildError(
            f"{file}:1: a carriage return stands within a line, or # check= before "
            "# escape=, which versions of Docker read differently. Remove it, or write "
            "# escape= first.",
            "build:source",
        )
    instructions = read(text, heredocs=heredocs)
    stages = sum(one.name == "from" for one in instructions)
    if len(instructions) > INSTRUCTIONS_MAX or stages > STAGES_MAX:
        raise BuildError(
            f"{file}: there are more than {INSTRUCTIONS_MAX:,} instructions or "
            f"{STAGES_MAX} stages. Leave some out.",
            "build:source",
        )
    for instruction in instructions:
        walk.take(instruction)
    return tuple(walk.images)


@dataclass
class _Stage:
    """The variables at one point of a stage; `lost` when any may have any value."""

    env: dict[str, str | None] = field(default_factory=dict)
    arguments: dict[str, str | None] = field(default_factory=dict)
    lost: bool = False

    def expand(self, text: str, escape: str) -> str:
        if self.lost and "$" in text:
            raise Undecidable
        return expand(text, ChainMap(self.env, self.arguments), escape)

    def child(self) -> _Stage:
        """A stage that is built on this one; builders differ in what of the arguments
        it keeps."""
        return _Stage(dict(self.env), dict.fromkeys(self.arguments), self.lost)


class _Walk:
    """Goes through the instructions as a builder does, and remembers what they set."""

    def __init__(self, file: str, escape: str, rules: Rules, *, heredocs: bool) -> None:
        self._file, self._escape, self._rules = file, escape, rules
        self._heredocs = heredocs
        self._count = 0
        self._stages: dict[str, _Stage] = {}
        self._stage = self._global = _Stage(arguments=_given(rules.platform))
        self._parent: tuple[str, Place] | None = None  # whose ONBUILD is being read
        self.images: dict[str, None] = {}

    def take(self, one: Instruction) -> None:
        match one.name:
            case "from":
                self._from(one)
            case "arg" | "env":
                self._set(one)
            case "add":
                self._hold_heredocs_plain(one)
                self._add(one)
            case "copy" | "run":
                self._hold_heredocs_plain(one)
                self._images_of(one)
            case "onbuild":
                self._onbuild(one)

    # -- Stages -----------------------------------------------------------------------

    def _from(self, one: Instruction) -> None:
        for flag in one.flags:
            self._platform(one, flag)
        if not one.operands:
            return  # Docker says so
        base, *named = one.operands
        name = self._expanded(one, base, self._global)
        known = self._stages.get(name.lower()) if name else None
        self._stage = known.child() if known else _Stage(lost=name is None)
        if name and not known and name != "scratch":
            self._image(one, base, name)
            self._look_at(name, one.place(base))
        self._count += 1
        if len(named) == 2:
            self._stages[named[1].text.lower()] = self._stage

    def _platform(self, one: Instruction, flag: Word) -> None:
        if self._rules.parent is None or not flag.text.startswith("--platform"):
            return
        wanted = self._expanded(one, flag, self._global)
        if (
            wanted
            and wanted.removesuffix("/v8") != f"--platform={self._rules.platform}"
        ):
            raise self._error(
                one.place(flag),
                f"{flag.text[:_SHOWN]} is refused: this Docker Engine is for "
                f"{self._rules.platform}, and what images of another platform bring "
                "with them can be checked by Docker 24 and later only.",
            )

    def _look_at(self, name: str, place: Place) -> None:
        """Go through what an image brings with it, where it can be seen."""
        if self._rules.parent is None:
            return
        parent = self._rules.parent(name)
        self._stage.env.update(parent.env)
        self._parent = name, place
        for trigger in parent.triggers:
            for one in read(trigger, heredocs=self._heredocs):
                self.take(one)
        self._parent = None

    def _onbuild(self, one: Instruction) -> None:
        """What it does is done in stages built on this one, whose variables differ."""
        here, inner = self._stage, one.inner
        if inner.name in ("env", "arg"):
            here.lost = True
        elif inner.name in ("add", "copy", "run"):
            self._stage = _Stage(lost=True)
            self.take(inner)
            self._stage = here

    # -- Variables --------------------------------------------------------------------

    def _set(self, one: Instruction) -> None:
        words = shell_words(one.rest, self._escape)
        if self._escape in one.rest and "'" in one.rest:
            self._stage.lost = True  # builders differ in where such a word ends
        elif one.name == "env" and words and "=" not in words[0]:
            value = one.rest[len(words[0]) :].strip(SPACE)
            self._stage.env[words[0]] = self._value(value)
        else:
            for word in words:
                name, has_value, value = word.partition("=")
                if not _NAME.fullmatch(name):
                    self._stage.lost = True
                elif one.name == "env":
                    self._stage.env[name] = self._value(value)
                else:
                    default = self._value(value)
                    self._argument(name, default, has_default=bool(has_value))

    def _argument(self, name: str, default: str | None, *, has_default: bool) -> None:
        outer, arguments = self._global.arguments, self._stage.arguments
        if has_default:
            value = None if name in _GIVEN else default  # builders differ in it
        elif arguments is not outer and name in outer:
            value = outer[name]
        else:
            return
        # For a second value too: the first one counts, or the last.
        known = name not in arguments or arguments[name] == value
        arguments[name] = value if known else None
        if self._stage.env.get(name, value) != value:
            self._stage.env[name] = None

    def _value(self, raw: str) -> str | None:
        try:
            value = self._stage.expand(raw, self._escape)
        except Undecidable:
            return None
        return value if len(value) < _VALUE_MAX else None

    def _expanded(self, one: Instruction, word: Word, scope: _Stage) -> str | None:
        """None where it cannot be decided, and need not be."""
        try:
            return scope.expand(word.text, self._escape)
        except Undecidable:
            if self._rules.parent is None:
                return None
        raise self._undecidable(one, word)

    # -- What is taken from elsewhere -------------------------------------------------

    def _add(self, one: Instruction) -> None:
        if len(one.words) > WORDS_MAX:
            raise self._undecidable(one, one.words[WORDS_MAX])
        lists = ((w, one.json(w)) for w in one.words if w.text.startswith("["))
        found = [Word(t, w.offset) for w, texts in lists for t in (texts or [])[:-1]]
        found += [w for w in one.words[:-1] if not _FLAG.fullmatch(w.text)]
        for word in found:
            source = self._expanded(one, word, self._stage)
            if source is not None and _REMOTE.match(source):
                raise self._error(
                    one.place(word),
                    f"ADD {source[:_SHOWN]} is refused: Docker fetches it from the "
                    "network of its own host, where private addresses answer. Fetch it "
                    "in a step, which has the network of builds: RUN wget, curl or git "
                    "clone.",
                )

    def _images_of(self, one: Instruction) -> None:
        """What COPY --from= and RUN --mount=…,from= name."""
        for word in one.words if one.name == "copy" else one.flags:
            if not word.text.startswith("--"):
                continue
            try:
                flag = expand(word.text, {}, self._escape)
            except Undecidable:
                continue  # flags have no variables, and no image such a name
            if one.name == "copy" and flag.startswith("--from="):
                self._image(one, word, flag.removeprefix("--from="))
            if one.name == "run" and flag.startswith("--mount="):
                for part in flag.removeprefix("--mount=").split(","):
                    key, _, value = part.strip('" ').partition("=")
                    if key.lower() == "from":
                        self._image(one, word, value)

    def _image(self, one: Instruction, word: Word, name: str) -> None:
        """An image, unless it is a stage: those have numbers too, but not in FROM."""
        is_number = name.isdecimal() and int(name[:9]) < self._count
        if not name or name.lower() in self._stages:
            return
        if is_number and one.name != "from":
            return
        self.images[name] = None
        if self._rules.ids and _ID.fullmatch(name):
            raise self._error(
                one.place(word),
                f"{name} is refused: Docker's classic builder takes it for the id of "
                f"an image. If it is a name, write docker.io/library/{name}.",
            )
        repository = repository_of(name)
        ours = repository_of(f"{self._rules.prefix}/x/x")[:-3]
        if f"{repository}/".startswith(ours) and repository not in self._rules.own:
            raise self._error(
                one.place(word),
                f"{name[:_SHOWN]} is refused: images below {self._rules.prefix}/ are "
                "those of functions, and a function may be built only on images of its "
                "own application.",
            )

    def _hold_heredocs_plain(self, one: Instruction) -> None:
        """Whether what follows is text or instructions must not be open to doubt."""
        if self._rules.parent is None or not self._heredocs or "<<" not in one.text:
            return
        is_open = not shell_words(one.text) or "${" in one.text
        if is_open or "<<" in _PLAIN_HEREDOC.sub("", one.text):
            raise self._error(
                one.place(one.words[0]),
                "<< is refused here but as a plain heredoc, <<NAME, without ${ and an "
                "open quote before it: what else it means differs between versions.",
            )

    # -- Errors -----------------------------------------------------------------------

    def _undecidable(self, one: Instruction, word: Word) -> BuildError:
        return self._error(
            one.place(word),
            f"{word.text[:_SHOWN]} is refused: what it will be cannot be told before "
            "the build, and this Docker Engine does not check it during one (Docker 24 "
            "and later do). Write it without variables.",
        )

    def _error(self, place: Place, text: str) -> BuildError:
        whose = ""
        if self._parent is not None:
            name, place = self._parent
            whose = f"ONBUILD of the parent image {name[:_SHOWN]}: "
        return BuildError(f"{self._file}:{place}: {whose}{text}", "build:source")


def canonical(name: str) -> str:
    """An image's name in full, which is never taken for an id."""
    digest = name.partition("@")[2]
    if digest:
        return f"{repository_of(name)}@{digest}"
    _, colon, tag = name.rpartition(":")
    return f"{repository_of(name)}:{tag if colon and '/' not in tag else 'latest'}"


def repository_of(name: str) -> str:
    """The repository of an image's name in Docker's one spelling, with its registry."""
    name = name.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    name = head if colon and "/" not in tag else name
    if found := _HUB.match(name):
        name = name[found.end() :]
    elif (first := name.partition("/")[0]) != name and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    ):
        return name
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"


def _given(platform: str) -> dict[str, str | None]:
    """The arguments every build has; None is ours, and nobody else's business."""
    system, _, machine = platform.partition("/")
    parts = {"PLATFORM": platform, "OS": system, "ARCH": machine, "VARIANT": ""}
    known: dict[str, str | None] = {
        f"{which}{part}": value
        for which in ("TARGET", "BUILD")
        for part, value in parts.items()
    }
    return {**known, "BUILDKIT_CACHE_MOUNT_NS": None}


_GIVEN = frozenset(_given(""))
