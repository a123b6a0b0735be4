"""The two error families: the user's, who can fix it, and ours, which we retry.

A `UserError` is shown with its code and its place and not tried again until the
commit changes. A `PlatformError` is logged with a traceback and retried with a limit.
Adapters raise nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from applications.plain_text import clean
from applications.redact import redact

MESSAGE_MAX = 16 * 1024  # characters
CLEANED_MAX = 16 * MESSAGE_MAX


class ZerverlessError(Exception):
    """An error with a stable `code` and a sentence that says what to do.

    Servers, repositories and programs of others have their words in it, so it is made
    harmless here, before any database, terminal, log or page gets it.
    """

    code = "error"

    def __init__(self, message: str, code: str = "") -> None:
        # Redacted whole: a cut could part a password from what tells that it is one.
        self.message = redact(clean(message, CLEANED_MAX))[:MESSAGE_MAX]
        super().__init__(self.message)
        self.code = code or self.code


class UserError(ZerverlessError):
    """The user's: shown, not retried until something of theirs changes."""


class PlatformError(ZerverlessError):
    """Ours: logged with a traceback, retried with a limit."""

    retry_after = 0.0  # seconds; another attempt waits so long


class GitError(UserError):
    """The repository, branch or commit cannot be had as it was given."""

    code = "git:failed"


class GitAddressError(GitError):
    """The server cannot be used as it was given. It says nothing about a commit."""


class GitUnavailable(PlatformError):
    """The Git server did not answer in time, or Git itself failed here."""

    code = "git:unavailable"
    retry_after = 5.0


@dataclass(frozen=True)
class Problem:
    """One finding in a manifest: where (1-based line and column), what, what to do."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return (
            f"{place}: {self.path}: {self.message}"
            if self.path
            else (f"{place}: {self.message}")
        )

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class ManifestError(UserError):
    """The manifest cannot be used; `problems` lists everything wrong at once."""

    code = "manifest:invalid"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
