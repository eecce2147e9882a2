"""Typed errors: every way a user's input can be wrong has a class here.

Every message says what is wrong, where, and what to do.

The command line turns a `PaveError` into one line on stderr and exit code 2; anything else is our
bug and exits with 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST, _END = 2000, 500
"""Characters of a message, and of its end where the middle is left out."""

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


def _spelt_out() -> dict[int, str]:
    """Characters that steer a terminal, or turn text around, as they are written in JSON."""
    steering = [*range(0x20), *range(0x7F, 0xA0)]  # C0 and C1: escape sequences begin with them
    turning = [0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
    kept = (ord("\n"), ord("\t"))
    return {code: f"\\u{code:04x}" for code in steering + turning if code not in kept}


_SPELT_OUT = _spelt_out()


def printable(text: str) -> str:
    r"""A text that a terminal shows and never obeys: control characters are spelt out.

    Everything that is printed goes through here, since names, answers and messages come from files.
    Ends of lines and tabs stay. Within JSON the result is the same JSON.

    Example:
        >>> print(printable("\x1b[31mred"))
        \u001b[31mred
    """
    return text.translate(_SPELT_OUT)


class PaveError(Exception):
    """Root of all errors that a user can cause and mend. Catch this to catch them all."""

    def __str__(self) -> str:
        """The message in one line of bounded length, since parts of it may come from files."""
        text = printable(" ".join(super().__str__().splitlines()))
        if len(text) <= _LONGEST:
            return text
        # What to do stands at the end.
        return f"{text[: _LONGEST - _END]} [...] {text[-_END:]}"


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
