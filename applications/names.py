"""What names, branches and paths may look like: exact, one spelling each, and ASCII
but for branches and paths in a repository, which Git names.

The same rules hold in the manifest, in the models and, as check constraints, in the
database, because every one of them can be the way in. No message repeats what it was
given, so none can carry a secret or a control sequence to a page.
"""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

# DNS-1123 label (RFC 1123): no leading "-", so a name never collides with /-/.
# Spelled without \d or \w, which accept other scripts, and without $, which accepts
# a final newline.
NAME_PATTERN = r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"
_NAME = re.compile(NAME_PATTERN)
_SEGMENT = re.compile(r"\A[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?\Z")
_NOT_IN_BRANCH = re.compile(r"[ ~^:?*\[\\]|\.\.|@\{|//|\A[-/]|[/.]\Z")
_VARIABLE = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
# What the platform sets for each request (DESIGN section 6; RFC 3875 section 4.1).
_PLATFORM_VARIABLE = re.compile(
    r"(HTTP_|INPUT_|ZERVERLESS_)|(AUTH_TYPE|CONTENT_LENGTH|CONTENT_TYPE|"
    r"GATEWAY_INTERFACE|HTTPS|PATH_INFO|PATH_TRANSLATED|QUERY_STRING|REMOTE_ADDR|"
    r"REMOTE_HOST|REMOTE_IDENT|REMOTE_USER|REQUEST_METHOD|REQUEST_SCHEME|REQUEST_URI|"
    r"SCRIPT_NAME|SERVER_NAME|SERVER_PORT|SERVER_PROTOCOL|SERVER_SOFTWARE)\Z"
)
PATH_MAX = 200

# Names that are the platform's at the root (DESIGN section 4), and those that people
# would take for it. `.well-known` and the like are no names in the first place.
RESERVED = frozenset(
    """
    accounts admin api health healthz htmx livez login logout metrics readyz static
    zerverless
    """.split()  # noqa: SIM905
)


def name_problem(value: str) -> str:
    """Why `value` cannot be a name, or an empty string."""
    if not _NAME.match(value):
        return (
            "must be 1 to 63 lower-case letters, digits and hyphens, "
            "beginning and ending with a letter or digit"
        )
    return ""


def namespace_problem(value: str) -> str:
    """Why `value` cannot be a namespace, or an empty string."""
    if value in RESERVED:
        return f'"{value}" is reserved: choose another namespace'
    return name_problem(value)


def function_path_problem(value: str) -> str:
    """Why `value` cannot be a function's path, or an empty string."""
    if not value.startswith("/"):
        return "must begin with a slash, as /api does"
    if value == "/":
        return ""
    if len(value) > PATH_MAX:
        return f"must be at most {PATH_MAX} characters long"
    for segment in value[1:].split("/"):
        if not _SEGMENT.match(segment):
            return (
                "each part must be 1 to 63 lower-case letters, digits, dots, hyphens "
                "and underscores, beginning and ending with a letter or digit, "
                "without a final slash"
            )
        if ".." in segment:
            return "must not hold two dots in a row"
    return ""


def branch_problem(value: str) -> str:
    """Why `value` cannot be a branch: the rules of git-check-ref-format(1) --branch.

    Stricter in two ways: nothing that cannot be seen, and a limited length.
    """
    if len(value) > PATH_MAX:
        return f"must be at most {PATH_MAX} characters long"
    bad = (
        value in {"", "HEAD"}
        or not value.isprintable()
        or _NOT_IN_BRANCH.search(value)
        or any(
            part.startswith(".") or part.endswith(".lock") for part in value.split("/")
        )
    )
    return "is not a branch name Git accepts" if bad else ""


def normal_path(value: str) -> str:
    """`./a//b/` as `a/b`, the root as `.`; what has to be refused stays as it is."""
    if "://" in value:
        return value
    parts = [part for part in value.split("/") if part not in {"", "."}]
    return ("/" if value.startswith("/") else "") + "/".join(parts) or "."


def repository_path_problem(value: str) -> str:
    """Why `value` cannot be a path inside the repository, or an empty string."""
    if not value or len(value) > PATH_MAX:
        return f"must be 1 to {PATH_MAX} characters long"
    if not value.isprintable() or any(mark in value for mark in "\\~$"):
        return "must not hold backslashes, ~, $ or control characters"
    if value.startswith("/") or "://" in value:
        return "must be relative to the repository root"
    if value.startswith("-"):
        return "must not begin with a hyphen: programs would take it for an option"
    parts = value.split("/")
    if ".." in parts or ".git" in value.lower().split("/"):
        return "must stay inside the repository: no .. and no .git"
    if "" in parts or "." in parts:
        return "must be written plainly, as services/api is: no //, no ./"
    return ""


def variable_problem(value: str) -> str:
    """Why `value` cannot be an environment variable of a function, or empty."""
    if not _VARIABLE.match(value):
        return (
            "must be letters, digits and underscores, not beginning with a digit, "
            "at most 128 characters"
        )
    if is_platform_variable(value):
        return "Forbidden: the platform sets this variable for each request"
    return ""


def is_platform_variable(name: str) -> bool:
    """Whether a variable of this name is the platform's, set or not."""
    return _PLATFORM_VARIABLE.match(name) is not None


def _refuse(problem: str) -> None:
    if problem:
        raise ValidationError(problem[0].upper() + problem[1:] + ".")


def validate_name(value: str) -> None:
    _refuse(name_problem(value))


def validate_namespace(value: str) -> None:
    _refuse(namespace_problem(value))


def validate_branch(value: str) -> None:
    _refuse(branch_problem(value))


def validate_repository_path(value: str) -> None:
    _refuse(repository_path_problem(value))
