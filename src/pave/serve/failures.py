"""Refusals as OpenAI's clients expect them: a status, and one message with its kind."""

from __future__ import annotations

from typing import Any

from pave.errors import PaveError

BUSY, TOO_LATE = "queue_full", "time_limit"


class RequestError(PaveError):
    """A request that is refused.

    Args:
        message: What is wrong and what to do.
        status: Of HTTP.
        code: For programs.
        param: The field of the request that is wrong.

    Example:
        >>> RequestError("no such model", 404, code="model_not_found").status
        404
    """

    def __init__(
        self, message: str, status: int = 400, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param


def status_of(error: BaseException) -> int:
    """The status of an error: what a client can mend is 400, unless it says another one."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, PaveError):
        return 400
    return 500


def body_of(error: BaseException) -> dict[str, Any]:
    """An error as OpenAI's clients read it.

    Errors that are our fault say no more than that: their text may name what is on this machine.
    """
    status = status_of(error)
    kind = "invalid_request_error"
    message = " ".join(str(error).split())
    if status == 401:
        kind = "authentication_error"
    elif status >= 500:
        kind = "server_error"
    if not isinstance(error, PaveError):
        message = f"unexpected {type(error).__name__}; the server's log has the details"
    code = getattr(error, "code", None)
    param = getattr(error, "param", None)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
