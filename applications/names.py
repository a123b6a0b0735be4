"""What names, branches and paths may look like: ASCII, exact, one spelling each.

The same rules hold in the manifest, in the models and, as check constraints, in the
database, because every one of them can be the way in.
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
_BRANCH = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_./+@#-]*\Z")
PATH_MAX = 200

# First path segments that belong to the platform (DESIGN section 4).
RESERVED = frozenset(
    {"livez", "readyz", "healthz", "metrics", "admin", "static", "login", "api"}
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
        return f'must begin with a slash: "/{value[:PATH_MAX]}"'
    if value == "/":
        return ""
    if len(value) > PATH_MAX:
        return f"must be at most {PATH_MAX} characters long"
    for segment in value[1:].split("/"):
        if not _SEGMENT.match(segment):
            return (
                "each part must be lower-case letters, digits, dots, hyphens and "
                "underscores, beginning and ending with a letter or digit, "
                "without a final slash"
            )
        if ".." in segment:
            return "must not hold two dots in a row"
    return ""


def branch_problem(value: str) -> str:
    """Why `value` cannot be a branch (a strict part of git-check-ref-format(1))."""
    bad = (
        not _BRANCH.match(value)
        or ".." in value
        or "//" in value
        or "@{" in value
        or "/." in value
        or value.endswith(("/", ".", ".lock"))
    )
    return "is not a branch name Git accepts" if bad else ""


def repository_path_problem(value: str) -> str:
    """Why `value` cannot be a path inside the repository, or an empty string."""
    if not value or len(value) > PATH_MAX:
        return f"must be 1 to {PATH_MAX} characters long"
    if not value.isprintable() or any(mark in value for mark in "\\~$\0"):
        return "must not hold backslashes, ~, $ or control characters"
    if value.startswith("/") or "://" in value:
        return "must be relative to the repository root"
    if ".." in value.split("/") or ".git" in value.lower().split("/"):
        return "must stay inside the repository: no .. and no .git"
    return ""


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
