"""What can go wrong while a request is served, each with its documented answer.

The codes are the `X-Zerverless-Error` values of docs/errors.md; `status` is the HTTP
status. A function's own errors never carry that header.
"""

from __future__ import annotations

import traceback
from copy import copy
from typing import Self

from applications.errors import PlatformError, UserError


class InvocationError(UserError):
    """A request that ends in an error answer of the platform."""

    code = "ZV502"
    status = 502
    title = "The function failed"
    retry_after: int | None = None

    def __init__(
        self, message: str, *, retry_after: int | None = None, code: str = ""
    ) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after or self.retry_after

    def again(self, retry_after: int | None) -> Self:
        """The same error for one more request, to be raised with a trace of its own."""
        error = copy(self)
        error.retry_after = retry_after
        return error


class BadRequest(InvocationError):
    """The request itself cannot be forwarded."""

    code, status, title = "ZV400", 400, "Bad request"


class NoRoute(InvocationError):
    """No deployed function answers at this path."""

    code, status, title = "ZV404", 404, "No function here"


class MethodNotAllowed(InvocationError):
    """The manifest does not list this method."""

    code, status, title = "ZV405", 405, "Method not allowed"

    def __init__(self, message: str, allowed: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allowed = allowed


class RequestTimeout(InvocationError):
    """The client did not send its body in time."""

    code, status, title = "ZV408", 408, "Request timed out"


class LengthRequired(InvocationError):
    """The dashboard takes no body of unknown length."""

    code, status, title = "ZV411", 411, "Length required"


class BodyTooLarge(InvocationError):
    """The request body is larger than the limit."""

    code, status, title = "ZV413", 413, "Request body too large"


class UriTooLong(InvocationError):
    """Path and query are longer than the limit."""

    code, status, title = "ZV414", 414, "Path and query too long"


class HeadersTooLarge(InvocationError):
    """The request headers do not fit into an environment."""

    code, status, title = "ZV431", 431, "Request headers too large"


class TooManyRequests(InvocationError):
    """A concurrency limit is reached."""

    code, status, title = "ZV429", 429, "Too many requests"
    retry_after = 1


class FunctionFailed(InvocationError):
    """The function ended with an error, or its answer cannot be used."""

    reason = ""  # what it said, for its owner's eyes
    code, status, title = "ZV502", 502, "The function failed"


class ContainerRefused(FunctionFailed):
    """The engine cannot start the image as it is; `reason` is for the owner's eyes."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The function's container cannot be started; its log says why."
        )
        self.reason = reason


class Abandoned(InvocationError):
    """The client is gone and the function was stopped; nobody reads this answer."""

    code, status, title = "ZV499", 499, "The client closed the connection"


class OutOfMemory(FunctionFailed):
    """The function used more than its memory."""

    code, title = "ZV502M", "The function ran out of memory"


class AnswerTooLarge(FunctionFailed):
    """The function wrote more than the limit."""

    code, title = "ZV502L", "The function's answer is too large"


class FunctionTimeout(InvocationError):
    """The function did not end in time and was stopped."""

    code, status, title = "ZV504", 504, "The function timed out"


class Unavailable(InvocationError):
    """Nothing can run right now: the engine is away, or the image is gone."""

    code, status, title = "ZV503", 503, "Temporarily unavailable"
    retry_after = 5


class Starting(Unavailable):
    """No instance of the function was ready in time."""

    code, title = "ZV503S", "The function is starting"
    retry_after = 2


class NoFreeInstance(Unavailable):
    """Every instance of the function was busy for as long as a request waits."""

    code, title = "ZV503B", "The function is busy"
    retry_after = 1


class ImageMissing(Unavailable):
    """The deployed image is not on the engine any more; it is never pulled."""


class ContainerEngineError(PlatformError):
    """The Docker daemon failed or cannot be reached."""

    code = "runtime:engine"


class DashboardStarting(InvocationError):
    """Nothing listens where the control plane should be."""

    code, status, title = "ZV503", 503, "The dashboard is starting"
    retry_after = 2


class DashboardFailed(InvocationError):
    """The control plane broke off, or took too long."""

    code, status, title = "ZV502", 502, "The dashboard failed"


def let_go(error: BaseException | None) -> None:
    """Drop what the frames of an error hold, and of those it came from.

    Errors and frames mostly hold each other; until the garbage collector looks, which
    in a gateway is rarely, sockets that only they know of stay open.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
