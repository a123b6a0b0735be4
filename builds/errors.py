"""What can go wrong while an image is made, in the two families."""

from __future__ import annotations

from applications.errors import PlatformError, UserError


class BuildError(UserError):
    """The Dockerfile or its context: the user can fix it with a commit."""

    code = "build:failed"

    def __init__(self, message: str, code: str = "", step: str = "") -> None:
        super().__init__(message, code)
        self.step = step


class InputMissing(BuildError):
    """No build can begin: what the manifest's `key` names is not what it should be."""

    code = "build:input"

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class BuildCancelled(UserError):
    """Somebody pressed Cancel, or a newer commit made the build pointless."""

    code = "build:cancelled"


class BuildEngineError(PlatformError):
    """The Docker daemon or its command line failed; tried again with a limit."""

    code = "build:engine"
