"""What a Dockerfile takes from elsewhere, as Docker reads it. Threats 39 and 121."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from builds.errors import BuildError
from builds.instructions import read
from builds.sources import Parent, Rules, canonical, check, repository_of
from builds.variables import Undecidable, expand

U = "http://127.0.0.1:8000/metrics"
OWN = "docker.io/zerverless/mallory/fn"
NONE: Mapping[str, Parent] = {}


def sources(
    text: str,
    *,
    heredocs: bool = True,
    parents: Mapping[str, Parent] | None = None,
    ids: bool = False,
) -> tuple[str, ...]:
    """`parents` are for an engine that holds nothing back; None: for one that does."""
    parent = None if parents is None else lambda name: parents.get(name, Parent())
    rules = Rules("zerverless", frozenset([OWN]), "linux/amd64", ids, parent)
    return check(text, "app/Dockerfile", rules, heredocs=heredocs)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"FROM x\nADD {U} /x\n", "2:5"),
        (f"FROM x\n  aDd\t{U} /x", "2:7"),
        (f"\ufeffFROM x\r\nADD {U} /x\r\n", "2:5"),
        (f"FROM x\nADD --chown=1 --checksum=sha256:1 --link {U} /x", "2:42"),
        (f'FROM x\nADD --chown=$WHO ["a", "{U}", "/x"]\n', "2:18"),
        (f'FROM x\nADD --keep-git-dir=true a "{U}" /x\n', "2:27"),
        (f"FROM x\nADD a \\\n# a comment\n\n   # more\n  {U} \\\n /x\n", "6:3"),
        (f"# escape=`\nFROM x\nADD `\n  {U} /x\n", "4:3"),
        (f"# syntax=docker/dockerfile:1\n# ESCAPE = `\nFROM x\nADD a`\n {U} /x", "5:2"),
        (f"# any=thing\n# escape=`\nFROM x\nRUN a `\nADD {U} /x\n", "5:5"),
        (f"\n# escape=`\nFROM x\nRUN a `\nADD {U} /x\n", "5:5"),
        (f"FROM x\nRUN a \\\\\nADD {U} /x\n", "3:5"),
        ("FROM x\nADD ht\\tp://127.0.0.1/x /x\n", "2:5"),
        ('FROM x\nADD h"tt"p\':\'//127.0.0.1/x /x\n', "2:5"),
        ("FROM x\nADD HTTPS://x /x\n", "2:5"),
        ("FROM x\nADD git://127.0.0.1/a.git#main:sub /x\n", "2:5"),
        ("FROM x\nADD ssh://127.0.0.1/a /x\n", "2:5"),
        ("FROM x\nADD git@127.0.0.1:a/b /x\n", "2:5"),
        ("FROM x\nADD -- --a@127.0.0.1:b /x\n", "2:8"),
        (f"FROM x\nARG U={U}\nADD $U /x\n", "3:5"),
        (f"FROM x\nENV A=1 U={U}\nADD ${{U}} /x\n", "3:5"),
        (f"FROM x\nENV U {U}\nADD ${{U}} /x\n", "3:5"),
        (f"FROM x\nADD ${{U:-{U}}} /x\n", "2:5"),
        (f"FROM x\nARG U\nADD ${{U-{U}}} /x\n", "3:5"),
        (f"FROM x\nARG N=1\nADD ${{N:+{U}}} /x\n", "3:5"),
        ("FROM x\nARG A=ht B=tp://127.0.0.1\nADD $A$B /x\n", "3:5"),
        (f"ARG U={U}\nFROM x\nARG U\nADD $U /x\n", "4:5"),
        (f"FROM x AS a\nENV U={U}\nFROM a\nADD $U /x\n", "4:5"),
        ("FROM x\nARG TARGETARCH\nADD http://$TARGETARCH /x\n", "3:5"),
        (f"FROM x\nONBUILD ADD {U} /x\n", "2:13"),
        (f"FROM x\nRUN <<EOF\nADD a\nEOF\nADD {U} /x\n", "5:5"),
        (f"FROM x\nRUN <<-'E' cat <<F\n\tE\nF\nADD {U} /x\n", "5:5"),
        (f"FROM x\nENV A=<<EOF\nADD {U} /x\n", "3:5"),
        (f"FROM x\nADD <<EOF {U} /x\nhi\nEOF\n", "2:11"),
    ],
)  # fmt: skip
def test_what_docker_would_fetch_is_refused_with_its_place(
    text: str, place: str
) -> None:
    """Threat 121: for every engine, whether it holds something back or not."""
    for parents in (None, NONE):
        with pytest.raises(BuildError, match=r"RUN wget, curl or git") as caught:
            sources(text, parents=parents)
        assert caught.value.message.startswith(f"app/Dockerfile:{place}: ADD ")
        assert caught.value.code == "build:source"


ORDINARY = [
    f"FROM x\nRUN <<EOF\nADD {U} /x\nEOF\n",
    f"FROM x\nCOPY <<A <<B /x/\nADD {U} /x\nA\nADD {U} /x\nB\n",
    f"FROM x\nADD <<EOF /etc/conf\n{U}\nEOF\n",
    f"FROM x\nRUN a \\\n  ADD {U} /x\n",
    f"FROM x\nRUN wget {U}\n# ADD {U} /x\nENV U={U}\nLABEL u={U}\nCMD curl {U}\n",
    f"FROM x\nADD a {U}\n",
    "FROM x\nRUN echo \\\\\\\n && true\nADD app-${V:-1}.tgz a*.jar ./b /x/\n",
    "FROM x\nARG JAR=target/*.jar\nADD --chown=$USER ${JAR} $HOME/app.jar\n",
    'ARG V=3\nFROM x:${V}-slim AS a\nFROM a\nENV D="it is" E=f\nADD $E ["a"] /\n',
    "FROM x\nADD github.com/a/b.go /src/\nCMD\n",
    "FROM x\nARG TARGETOS TARGETARCH\nADD bin/$TARGETOS-$TARGETARCH /b\n",
    "FROM --platform=$BUILDPLATFORM x AS a\nFROM --platform=linux/amd64 a\n",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_dockerfiles_pass(text: str) -> None:
    for parents in (None, NONE):
        sources(text, parents=parents)


@pytest.mark.parametrize("run", ["echo '<<EOF'", '["a", "<<EOF"]', "echo it's <<EOF"])
def test_what_is_no_heredoc_hides_nothing(run: str) -> None:
    """Threat 121."""
    with pytest.raises(BuildError, match=r"Dockerfile:3:5: ADD"):
        sources(f"FROM x\nRUN {run}\nADD {U} /x\nEOF\n")


def test_a_heredoc_ends_at_its_name_whatever_that_looks_like() -> None:
    """Threat 121."""
    for name, end in (
        ("'A\\'", "A\\"),
        ('"A\\\\"', "A\\"),
        ("A\\ B", "A B"),
        ("'A'", "A"),
    ):
        text = f"FROM x\nRUN <<{name}\nADD {U} /a\n{end}\nADD {U} /x\n"
        with pytest.raises(BuildError, match=r"Dockerfile:5:5: ADD"):
            sources(text)


def test_what_is_a_body_for_new_engines_is_an_instruction_for_old_ones() -> None:
    text = f"FROM x\nRUN <<CMD\nADD {U} /x\nCMD\n"
    sources(text, heredocs=True)
    with pytest.raises(BuildError, match=r"^app/Dockerfile:3:5: ADD"):
        sources(text, heredocs=False)


@pytest.mark.parametrize(
    ("text", "parent", "words"),
    [
        ("FROM p\n", Parent({}, (f"ADD {U} /x",)), "1:6: ONBUILD of the parent image"),
        ("ARG P=p\nFROM ${P}\n", Parent({}, (f'add ["{U}", "/x"]',)), "2:6: ONBUILD"),
        ("FROM p\n", Parent({"U": U}, ("ADD $U /x",)), "1:6: ONBUILD"),
        ("FROM p\n", Parent({}, (f"ENV U={U}", "ADD $U /x")), "1:6: ONBUILD"),
        ("FROM p\nARG U=a\nADD $U /x\n", Parent({"U": U}), "3:5: .*cannot be told"),
        ("FROM p AS a\nFROM a\nADD $U /x\n", Parent({"U": U}), f"3:5: ADD {U}"),
        ("FROM p\n", Parent({}, ("COPY --from=zerverless/v/f /a /",)), "application"),
        ("FROM p\nADD ${A#b} /x\n", Parent(), "2:5: .*cannot be told before"),
        ("FROM p\nARG A=1\nARG A=2\nADD $A /x\n", Parent(), "4:5: .*cannot be told"),
        ("FROM p AS a\nARG A=1\nFROM a\nADD $A /x\n", Parent(), "4:5: .*cannot be"),
        ("FROM p\nENV A='\\' B=c'\nADD $B /x\n", Parent(), "3:5: .*cannot be told"),
        ("FROM p\nONBUILD ADD $A /x\n", Parent(), "2:13: .*cannot be told"),
        ("FROM p AS a\nONBUILD ENV A=b\nFROM a\nADD $A /x\n", Parent(), "4:5: .*can"),
        ("FROM p\nARG BUILDKIT_CACHE_MOUNT_NS=a\nADD $BUILDKIT_CACHE_MOUNT_NS /x\n",
         Parent(), "3:5: .*cannot be told"),
        ("FROM ${A#b}\n", Parent(), "1:6: .*cannot be told"),
        ("ARG TARGETARCH=x\nFROM a$TARGETARCH\n", Parent(), "2:6: .*cannot be told"),
        ("FROM --platform=linux/arm64 p\n", Parent(), "1:6: .*another platform"),
        ("FROM p\nRUN a <<\"A\\\"B\"\nA\n", Parent(), "2:5: << is refused"),
        ("FROM p\nRUN it's <<A\nA\n", Parent(), "2:5: << is refused"),
        ("FROM p\nRUN a ${B%c} <<A\nA\n", Parent(), "2:5: << is refused"),
        ("FROM p\rADD a /x\n", Parent(), "a carriage return"),
        (f"# check=skip=all\n# escape=`\nFROM p\nRUN a `\nADD {U} /x\n", Parent(),
         "# check= before"),
        ("FROM p\nADD " + "a " * 1001 + "/x\n", Parent(), "cannot be told"),
        ("FROM p\n" + "".join(f"ENV A{n + 1}=${{A{n}}}${{A{n}}}b\n" for n in range(40))
         + "ADD $A40 /x\n", Parent(), "cannot be told"),
        ("FROM p\nADD " + "${A:-" * 9000 + "}" * 9000 + " /x\n", Parent(), "cannot"),
    ],
)  # fmt: skip
def test_where_the_engine_holds_nothing_back_parents_are_looked_at(
    text: str, parent: Parent, words: str
) -> None:
    """Threats 121 and 123: and what cannot be decided before the build is refused."""
    with pytest.raises(BuildError, match=words):
        sources(text, parents={"p": parent})


FOREIGN = "zerverless/victim/fn:20260102030405"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"FROM {FOREIGN}\n", "1:6"),
        (f"FROM docker.io/{FOREIGN}\n", "1:6"),
        (f"FROM index.docker.io/{FOREIGN}\n", "1:6"),
        (f"ARG B={FOREIGN}\nFROM ${{B}}\n", "2:6"),
        ("ARG B=victim\nFROM --platform=$BUILDPLATFORM zerverless/${B}/fn@"
         f"sha256:{'a' * 64}\n", "2:32"),
        (f"FROM x\nCOPY --from={FOREIGN} /a /\n", "2:6"),
        ('FROM x\nCOPY --chown=1 --fr"om"=zerverless/victim/fn /a /\n', "2:16"),
        (f"FROM x\nRUN --mount=type=bind,from={FOREIGN},target=/m ls\n", "2:5"),
        (f"FROM x\nRUN --mount=type=cache,target=/m,FROM={FOREIGN} ls\n", "2:5"),
        (f"FROM x\nONBUILD COPY --from={FOREIGN} /a /\n", "2:14"),
        (f"FROM x\nADD --from={FOREIGN} /a /\n".replace("ADD", "COPY"), "2:6"),
    ],
)  # fmt: skip
def test_images_of_other_applications_are_refused(text: str, place: str) -> None:
    """Threat 39."""
    with pytest.raises(BuildError, match=rf"Dockerfile:{place}: .*own application"):
        sources(text)


@pytest.mark.parametrize(
    "text",
    [
        "FROM zerverless/mallory/fn:2-a AS a\nCOPY --from=a /a /b\nCOPY --from=0 / /\n",
        "FROM zerverless-other/x\nFROM registry.example/zerverless/victim/fn:1\n",
        "FROM scratch AS zerverless\nFROM zerverless\n",
    ],
)
def test_its_own_and_what_is_no_image_of_ours_pass(text: str) -> None:
    """Threat 39."""
    sources(text)


def test_the_classic_builder_gets_no_id_for_a_name() -> None:
    """Threat 39: three digits are enough for it."""
    for name in ("34c", "34cef1dad490", f"sha256:{'a' * 64}"):
        for text in (f"FROM {name}\n", f"FROM x\nCOPY --from={name} / /\n"):
            with pytest.raises(BuildError, match="classic builder takes it for the id"):
                sources(text, ids=True)
            sources(text)
    sources("FROM docker.io/library/cafe\nCOPY --from=0 /a /\n", ids=True)


def test_names_of_images_are_told() -> None:
    text = (
        "ARG V=3\nFROM a:$V AS b\nFROM b\nCOPY --from=c/d /a /\nRUN --mount=from=e ls\n"
    )
    assert sources(text) == ("a:3", "c/d", "e")


def test_more_than_a_dockerfile_can_be_is_refused() -> None:
    """Threat 124."""
    for text in ("FROM x\n" * 201, "FROM x\n" + "RUN a\n" * 5001):
        with pytest.raises(BuildError, match="more than 5,000 instructions or 200"):
            sources(text)


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("34c", "docker.io/library/34c:latest"),
        ("a/b:1", "docker.io/a/b:1"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("r.example:5000/a/b:1", "r.example:5000/a/b:1"),
        ("r.example:5000/a/b:1@sha256:2", "r.example:5000/a/b@sha256:2"),
    ],
)
def test_a_name_has_one_spelling(name: str, whole: str) -> None:
    assert canonical(name) == whole
    assert whole.startswith(repository_of(name))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a$A-${B}c", "a1-2c"),
        ("$NO${NO:-x}${NO-y}${A:+z}${A+z}${E:-e}${E-n}", "xyzze"),
        ("'$A'\"$A\"\\$A", "$A1$A"), ('"\\a\\$A"', "\\a$A"), ("$", "$"), ("$.a", "$.a"),
        ("${NO:-${B}}$1", "2"), ("'open", "open"),
    ],
)  # fmt: skip
def test_variables_are_those_of_a_shell(text: str, value: str) -> None:
    assert expand(text, {"A": "1", "B": "2", "E": ""}) == value


def test_what_is_not_known_cannot_be_told() -> None:
    for text in ("$A", "${A}", "${A:-b}", "${B%c}", "${B/c/d}", "${}", "$ä"):
        with pytest.raises(Undecidable):
            expand(text, {"A": None, "B": "c"})


def test_a_large_file_is_read_in_no_time() -> None:
    """Threat 124: one line of twenty thousand pieces, and as many open brackets."""
    text = "FROM x\nRUN " + "a \\\n" * 20_000 + "b\nCOPY " + "[ " * 20_000
    assert [one.name for one in read(text, heredocs=True)] == ["from", "run", "copy"]
    sources(text)
