"""Typed errors: every way a user's input can be wrong has a class here.

Every message says what is wrong, where, and what to do.

The command line turns a `PaveError` into one line on stderr and exit code 2; anything else is our
bug and exits with 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

# pydantic's words for programmers -> ours; all others can be shown as they are.
_PLAIN = {"extra_forbidden": "there is no such field", "missing": "is missing"}


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Where pydantic's first complaint is ("lora.rank", or nothing) and what it is, in plain words.

    Example:
        >>> from pydantic import BaseModel, ValidationError
        >>> class Model(BaseModel, extra="forbid"):
        ...     steps: int = 1
        >>> try:
        ...     Model(stps=2)
        ... except ValidationError as error:
        ...     first_problem(error)
        ('stps', 'there is no such field')
    """
    # One at a time: the next complaint often follows from the first.
    first = error.errors()[0]
    what = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    return ".".join(str(part) for part in first["loc"]), what


class PaveError(Exception):
    """Root of all errors that a user can cause and mend. Catch this to catch them all."""


class ConfigError(PaveError):
    """A setting is missing, misspelt, of the wrong type, or contradicts another one."""


class MediaError(PaveError):
    """A media file is missing, broken, truncated, or holds no stream of the kind asked for."""


class ChannelError(PaveError):
    """A channel or its encoder is unknown or misconfigured, or its tokens do not fit."""


class RecordError(PaveError):
    """A line of a records file cannot be read as a record."""


class BaseError(PaveError):
    """A base model cannot be loaded or belongs to no supported family."""


class PatchError(PaveError):
    """A patch folder is incomplete, damaged, unsafe, or was made for another base."""


class TrainError(PaveError):
    """A training run cannot start, resume or finish with the given settings."""
