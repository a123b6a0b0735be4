"""Ways to name another tenant's image, cache or an internal address in a Dockerfile.

One table, each row one Dockerfile: what is expected of it is what docs/build-sources.md
says (`python -m tests.builds.attempts` writes it there).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "build-sources.md"
REFUSED = "refused before the build"
DENIED = "the engine's policy refuses it"
UNKNOWN = "no such image"
NOTHING = "builds, and gets nothing"
NOT_KNOWN = "the engine knows no such flag"
NOT_ALLOWED = "the engine does not allow it"


@dataclass(frozen=True)
class Row:
    """A Dockerfile, and what becomes of it; `newer` is Docker 28.5, if it differs."""

    title: str
    dockerfile: str
    older: str = REFUSED
    newer: str = ""


# {victim} is the whole name of the victim's image, as if its tag had become known.
ROWS = (
    Row("`FROM` the victim's image, its tag known", "FROM {victim}\nRUN cat /secret\n"),
    Row("`FROM` a tag that follows from a commit's time", "FROM {guess}\n"),
    Row("`FROM` the repository without a tag", "FROM {repository}\n"),
    Row("`ARG` before `FROM`", "ARG B={victim}\nFROM ${{B}}\nRUN cat /secret\n"),
    Row("a variable's default", "FROM ${{B:-{victim}}}\nRUN cat /secret\n"),
    Row("another spelling of the registry", "FROM index.docker.io/{victim}\n"),
    Row(
        "`# escape` and continued lines",
        "# escape=`\nfrom `\n# a comment\n\n  --platform=$BUILDPLATFORM `\n {victim}\n",
    ),
    Row(
        "`COPY --from=`",
        "FROM busybox\nCOPY --chown=1 --from={victim} /secret /s\nRUN cat /s\n"),
    Row(
        "`RUN --mount=type=bind,from=`",
        "FROM busybox\nRUN --mount=type=bind,from={victim},target=/m cat /m/secret\n"),
    Row(
        "`RUN --mount=type=cache,from=`",
        "FROM busybox\nRUN --mount=type=cache,from={victim},target=/m cat /m/secret\n"),
    Row("`ONBUILD COPY --from=`", "FROM busybox\nONBUILD COPY --from={victim} / /\n"),
    Row("`ONBUILD COPY --from=` of a parent", "FROM {copies}\n", newer=DENIED),
    Row(
        "`ONBUILD RUN --mount=…,from=` of a parent", "FROM {mounts}\n", newer=DENIED
    ),
    Row("`FROM` its id", "FROM {id}\nRUN cat /secret\n", UNKNOWN),
    Row("`FROM` its id, the digits only", "FROM {digits}\nRUN cat /secret\n", UNKNOWN),
    Row("`FROM` the beginning of its id", "FROM {short}\nRUN cat /secret\n", UNKNOWN),
    Row("`COPY --from=` its id", "FROM busybox\nCOPY --from={short} / /x\n", UNKNOWN),
    Row("`FROM` the repository and its digest", "FROM {repository}@{id}\n"),
    Row(
        "a stage with the victim's name",
        "FROM busybox AS victim\nFROM victim\nCOPY --from=victim /bin/true /t\n"
        "RUN test ! -e /secret\n",
        NOTHING,
    ),
    Row(
        "cache mounts with the victim's id, shared and private, and at its path",
        "FROM busybox\nRUN --mount=type=cache,id=shared,target=/a "
        "--mount=type=cache,id=shared,sharing=private,target=/b "
        "--mount=type=cache,target=/c test ! -e /a/x -a ! -e /b/x -a ! -e /c/x\n",
        NOTHING,
    ),
    Row(
        "cache mounts that bring a namespace",
        "ARG BUILDKIT_CACHE_MOUNT_NS={space}\nFROM busybox\n"
        "ARG BUILDKIT_CACHE_MOUNT_NS={space}\nENV BUILDKIT_CACHE_MOUNT_NS={space}\n"
        "RUN --mount=type=cache,id=shared,target=/a "
        "--mount=type=cache,id={space}/shared,target=/b test ! -e /a/x -a ! -e /b/x\n",
        NOTHING,
    ),
    Row(
        "the victim's own steps, for the layers they left",
        "FROM busybox\nCOPY secret /secret\n"
        "RUN --mount=type=cache,id=shared,target=/c cat /secret > /read\n"
        "RUN grep -q mallory /read\n",
        NOTHING,
    ),
    Row("`ADD` of a URL on loopback", "FROM busybox\nADD {url} /x\nRUN cat /x\n"),
    Row("`ADD` of `localhost`, by IPv6", "FROM scratch\nADD http://[::1]:{port}/ /x\n"),
    Row(
        "`ADD` of an address as a number",
        "FROM scratch\nADD --chown=1 http://2130706433:{port}/ /x\n",
    ),
    Row(
        "`ADD` of a name that resolves to an internal address, or redirects to one",
        "FROM scratch\nADD https://rebind.example/ /x\n",
    ),
    Row(
        "`ADD` of a cloud's metadata", "FROM scratch\nADD http://169.254.169.254/ /x\n"
    ),
    Row("`ADD` in JSON, small letters", 'FROM scratch\nadd ["a", "{url}", "/x"]\n'),
    Row(
        "`ADD` with escapes and continued lines",
        'FROM scratch\nADD --link \\\n  # text\n\n h\\ttp"://"127.0.0.1:{port}/ /x\n',
    ),
    Row(
        "`ADD` of variables",
        "FROM scratch\nARG A=http:// B=127.0.0.1:{port}\nADD $A$B /x\n",
    ),
    Row(
        "`ADD` of a variable the parent sets",
        "FROM {sets}\nADD ${{U:-file}} /x\n",
        newer=DENIED,
    ),
    Row("`ADD` of a Git repository", "FROM scratch\nADD git://127.0.0.1/a.git /x\n"),
    Row("`ADD` of one by HTTPS", "FROM scratch\nADD https://127.0.0.1/a.git#main /x\n"),
    Row("`ADD` of one by SSH", "FROM scratch\nADD git@127.0.0.1:a/b.git /x\n"),
    Row(
        "`ONBUILD ADD`, and a stage on it",
        "FROM busybox AS a\nONBUILD ADD {url} /x\nFROM a\nRUN cat /x\n",
    ),
    Row("`ONBUILD ADD` of a parent", "FROM {adds}\nRUN cat /x\n", newer=DENIED),
    Row(
        "`ADD` in what is a heredoc for some engines",
        "FROM busybox\nRUN cat <<CMD\nADD {url} /x\nCMD\nRUN test ! -e /x\n",
        newer=NOTHING,
    ),
    Row(
        "`ADD` after a heredoc's end that looks like a continued line",
        "FROM busybox\nRUN <<'A\\'\ntrue\nA\\\nADD {url} /x\n",
        "the engine does not understand it",
        REFUSED,
    ),
    Row("`COPY` of a URL", "FROM scratch\nCOPY {url} /x\n", "the engine refuses it"),
    Row(
        "a step that asks loopback: it has its own",
        "FROM busybox\nRUN ! wget -T 5 -q -O /x {url}\n",
        NOTHING,
    ),
    Row(
        "`RUN --network=host`",
        "FROM busybox\nRUN --network=host wget -T 5 -q -O /x {url}\n",
        NOT_KNOWN,
        NOT_ALLOWED,
    ),
    Row(
        "`RUN --security=insecure`",
        "FROM busybox\nRUN --security=insecure cat /dev/mem\n",
        NOT_KNOWN,
    ),
    Row(
        "secrets and SSH keys of the host",
        "FROM busybox\nRUN --mount=type=secret,id=a,target=/a --mount=type=ssh "
        'test ! -f /a -a ! -S "$SSH_AUTH_SOCK"\n',
        NOTHING,
    ),
    Row(
        "a frontend that is not Docker's",
        "# syntax=127.0.0.1:{port}/mallory/frontend\nFROM busybox\n",
    ),
)  # fmt: skip


def table() -> str:
    """The page's table."""
    head = "| a Dockerfile with | Docker 20.10 | 28.5 | 28.5, containerd's store |"
    lines = [head, "|---|---|---|---|"]
    for row in ROWS:
        newer = row.newer or row.older
        lines.append(f"| {row.title} | {row.older} | {newer} | {newer} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    start = PAGE.read_text().index("| a Dockerfile with")
    PAGE.write_text(PAGE.read_text()[:start] + table())
