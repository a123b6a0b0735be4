"""What a Git server says about a repository, without fetching anything of it."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from applications import git_process
from applications.errors import GitError
from applications.git_errors import failure

HEADS_MAX = 16 * 2**20  # bytes of branch list: about 150,000 branches
LOOK_SECONDS = 30.0  # a server that needs longer to list its branches is none of use
SHA256_LENGTH = 64  # hexadecimal digits of an object name in a SHA-256 repository


@dataclass(frozen=True)
class Remote:
    """What a server says about a repository: branch -> sha, and its default branch."""

    heads: dict[str, str]
    default_branch: str | None


def remote_heads(url: str) -> dict[str, str]:
    """The branches of a remote repository, branch -> sha; one `ls-remote`.

    Raises GitError for what the user can fix, GitUnavailable for what may pass.
    """
    prefix = "refs/heads/"
    listed = [row for row in _ask(url, "--heads", "--", url) if row[1]]
    if any(len(sha) == SHA256_LENGTH for sha, _ in listed):
        raise GitError(
            "The repository uses SHA-256 object names, which are not supported yet.",
            "git:format",
        )
    return {name.removeprefix(prefix): sha for sha, name in listed}


def default_branch(url: str) -> str | None:
    """The branch the remote's HEAD names; None when it is detached or empty."""
    prefix = "ref: refs/heads/"
    for target, name in _ask(url, "--symref", "--", url, "HEAD"):
        if name == "HEAD" and target.startswith(prefix):
            return target.removeprefix(prefix)
    return None


def look(url: str) -> Remote:
    """Branches and default branch of a remote repository: two `ls-remote`.

    Not one: without `--heads` a server sends every reference it has, and forges keep
    one or two for each pull request.
    """
    return Remote(remote_heads(url), default_branch(url))


def _ask(url: str, *arguments: str) -> list[tuple[str, str]]:
    command = ["ls-remote", "--quiet", *arguments]
    outcome = git_process.run(
        command,
        url=url,
        output_max=HEADS_MAX,
        timeout=min(LOOK_SECONDS, settings.ZERVERLESS_GIT_TIMEOUT),
    )
    if not outcome.succeeded:
        raise failure(command, outcome)
    lines = outcome.output.decode("utf-8", "replace").split("\n")
    return [
        (left, right) for left, _, right in (line.partition("\t") for line in lines)
    ]
