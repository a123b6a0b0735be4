"""Says in plain words, and in the right error family, why a git command failed.

What the repository's owner can change is a GitError and waits for them; what may pass
by itself is GitUnavailable and is tried again. The first line of a message is the
sentence; the lines after it are the command, its exit status and git's own words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from applications.errors import GitAddressError, GitError, GitUnavailable
from applications.git_address import NOT_FOUND
from applications.git_process import ERRORS_MAX, Outcome
from applications.plain_text import clean
from applications.redact import redact

log = logging.getLogger(__name__)

QUOTED_MAX = 1000  # characters of git's own words in a message


class UnexplainedFailure(GitUnavailable):
    """Git failed for no reason we know: it may be our own copy that is damaged."""


@dataclass(frozen=True)
class Cause:
    """What git says when it fails for one reason, and what we say then."""

    pattern: str
    family: type[GitError | GitUnavailable]
    code: str
    sentence: str


# In order: the first that matches is the cause. Texts of git 2.30 to 2.50 and of
# libcurl with OpenSSL and GnuTLS, under LC_ALL=C.
_CAUSES = (
    Cause(
        r"dubious ownership",
        GitAddressError,
        "git:owner",
        "The repository belongs to another user than the one Zerverless runs as: "
        "change its owner, or serve it over https.",
    ),
    Cause(
        r"mismatched algorithms|unknown object format|unsupported object format",
        GitError,
        "git:format",
        "The repository uses SHA-256 object names, which are not supported yet.",
    ),
    Cause(
        r"unable to update url base from redirection|returned error: 30\d",
        GitAddressError,
        "git:url",
        "The server redirects this URL, and redirects are not followed: enter the "
        "address it leads to (some servers want .git at the end).",
    ),
    Cause(
        r"transport '\S+' not allowed|remote-\S+' is not a git command"
        r"|URL rejected|Malformed",
        GitAddressError,
        "git:url",
        "Git does not accept this URL.",
    ),
    Cause(
        r"Authentication failed|could not read (?:Username|Password)"
        r"|returned error: 40[13]|terminal prompts disabled",
        GitAddressError,
        "git:auth",
        "The server asks for a login: the repository is private or does not exist "
        "(servers answer the same for both). Private repositories are not supported "
        "yet.",
    ),
    Cause(
        r"returned error: 4(?:0[045]|10)|repository '.*' not found"
        r"|does not appear to be a git repository|not valid:.*is this a git repo"
        r"|does not exist|dumb http transport"
        r"|Failed to connect|Couldn't connect|Connection (?:refused|timed out)"
        r"|No route to host|unreachable|Could not resolve (?:host|proxy)"
        r"|Empty reply|HTTP/0\.9|Unsupported (?:protocol|HTTP)|Weird server reply"
        r"|gnutls_handshake|wrong version number|unexpected TLS|unknown protocol"
        r"|SSL_ERROR_SYSCALL",
        GitAddressError,
        "git:not-found",
        NOT_FOUND,
    ),
    Cause(
        r"returned error: 429",
        GitUnavailable,
        "git:network",
        "The server asks to be polled less often (429).",
    ),
    Cause(
        r"returned error: 5\d\d",
        GitUnavailable,
        "git:network",
        "The server answered with an error of its own.",
    ),
    Cause(
        r"certificate|self.signed|SSL: no alternative",
        GitAddressError,
        "git:tls",
        "The server's TLS certificate cannot be verified.",
    ),
    Cause(
        r"SSL_|TLS|ssl3?_|OpenSSL",
        GitUnavailable,
        "git:tls",
        "The TLS connection to the server failed.",
    ),
    Cause(
        r"couldn't find remote ref",
        GitError,
        "git:branch",
        "The branch does not exist.",
    ),
    Cause(
        r"No space left on device|Disk quota exceeded",
        GitUnavailable,
        "git:disk",
        "The disk of Zerverless's data directory is full.",
    ),
    Cause(
        r"died of signal 25|File too large|[Oo]ut of memory|mmap failed"
        r"|memory exhausted|malloc failed|pack exceeds maximum",
        GitError,
        "git:too-large",
        "The repository is larger than ZERVERLESS_REPOSITORY_MAX allows.",
    ),
    Cause(
        r"[Ff]sck error|[Ee]rror in (?:object|tree|commit|blob)",
        GitError,
        "git:damaged",
        "The repository holds an object that Git considers malformed or hostile.",
    ),
    Cause(
        r"Operation too slow|timed out|Timeout was reached",
        GitUnavailable,
        "git:timeout",
        "The server is too slow or does not answer.",
    ),
    Cause(
        r"Connection (?:reset|closed)|early EOF|hung up|RPC failed"
        r"|unexpected disconnect|Recv failure|transfer closed"
        r"|invalid index-pack output|unable to access"
        r"|protocol error|bad line length|expected flush|HTTP/2 stream",
        GitUnavailable,
        "git:network",
        "The connection to the server failed or broke off.",
    ),
)


def failure(arguments: Sequence[str], outcome: Outcome) -> GitError | GitUnavailable:
    """The error for a command that did not succeed."""
    details = _details(arguments, outcome)
    if outcome.timed_out:
        return GitUnavailable(
            "Git was stopped because it took too long: the server is too slow, or the "
            "repository too large for ZERVERLESS_GIT_TIMEOUT, "
            f"{settings.ZERVERLESS_GIT_TIMEOUT} s.\n{details}",
            "git:timeout",
        )
    if outcome.overflowed:
        return GitError(
            f"The server lists more branches than can be read.\n{details}",
            "git:too-large",
        )
    cause = _cause(arguments, outcome)
    if cause is None:
        return UnexplainedFailure(f"Git failed.\n{details}")
    if cause.sentence is NOT_FOUND:
        # Git's own words would tell a closed port from a web server.
        log.info("%s", " | ".join(details.splitlines()))
        return cause.family(NOT_FOUND, cause.code)
    return cause.family(f"{cause.sentence}\n{details}", cause.code)


def _cause(arguments: Sequence[str], outcome: Outcome) -> Cause | None:
    words = outcome.errors
    for argument in arguments:
        if "/" in argument:  # a repository may be called "certificate.git"
            words = words.replace(argument, "")
    return next((cause for cause in _CAUSES if re.search(cause.pattern, words)), None)


def _details(arguments: Sequence[str], outcome: Outcome) -> str:
    command = " ".join(word for word in arguments if not word.startswith("--git-dir="))
    words = clean(outcome.errors.strip().replace("\r", "\n"), ERRORS_MAX)
    # Redacted whole: a cut could part a password from what tells that it is one.
    quoted = redact(words)[-QUOTED_MAX:].replace(str(settings.DATA_DIR), "")
    return f"$ git {redact(command)} (status {outcome.status})\n{quoted}"
