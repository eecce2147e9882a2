"""Typed errors: every way a user's input can be wrong has a class here.

Every message says what is wrong, where, and what to do.

The command line turns a `PaveError` into one line on stderr and exit code 2; anything else is our
bug and exits with 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

T = TypeVar("T")

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


def as_flag(given: object, name: str) -> bool:
    """A switch that a caller of the Python API sets: an array, say, would be asked for its truth.

    Raises:
        ConfigError: If it is no bool.

    Example:
        >>> as_flag(True, "stream")
        True
    """
    if not isinstance(given, bool):
        raise ConfigError(f"{name} must be True or False, got {type(given).__name__}")
    return given


def as_kind(given: object, kind: type[T], what: str, error: type[PaveError] = ConfigError) -> T:
    """What a caller of the Python API gives, if it is of the kind that is meant.

    Args:
        given: What was given.
        kind: Its class.
        what: What is meant, as the beginning of a sentence.
        error: What to raise.

    Raises:
        PaveError: Of the kind given, if it is something else.

    Example:
        >>> as_kind("a", int, "a count is a number")
        Traceback (most recent call last):
            ...
        pave.errors.ConfigError: a count is a number, got str
    """
    if not isinstance(given, kind):
        raise error(f"{what}, got {type(given).__name__}")
    return given


def as_list_of(
    given: Sequence[T], kind: type, what: str, error: type[PaveError] = ConfigError
) -> Sequence[T]:
    """A sequence that a caller of the Python API gives, if all in it are of the kind that is meant.

    Args:
        given: What was given; a text is no list of its letters.
        kind: Class of what it holds.
        what: What is meant, as the beginning of a sentence.
        error: What to raise.

    Raises:
        PaveError: Of the kind given, if it is no sequence, or holds something else.

    Example:
        >>> as_list_of(["a", 1], str, "names are a list of texts")
        Traceback (most recent call last):
            ...
        pave.errors.ConfigError: names are a list of texts, it holds int
    """
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise error(f"{what}, got {type(given).__name__}")
    for one in given:
        if not isinstance(one, kind):
            raise error(f"{what}, it holds {type(one).__name__}")
    return given


def as_whole(given: object, name: str, most: int, least: int = 0) -> int:
    """A whole number that a caller of the Python API gives, within its bounds.

    Raises:
        ConfigError: If it is another number, or none.

    Example:
        >>> as_whole(3, "seed", most=10)
        3
    """
    # A bool is an int to Python, but no count.
    if isinstance(given, bool) or not isinstance(given, int):
        kind = type(given).__name__
        raise ConfigError(f"{name} must be a whole number, got {kind}")
    if given < least:
        raise ConfigError(f"{name} must be {least:,} or more, got {given}")
    if given > most:
        raise ConfigError(f"{name} must be at most {most:,}, got {given}")
    return given


def as_text(given: object, what: str, error: type[PaveError] = ConfigError) -> str:
    """A text that a caller of the Python API gives, if it can be written.

    Raises:
        PaveError: Of the kind given, if it is none, or holds half of a surrogate pair.

    Example:
        >>> as_text("a", "a question is a text")
        'a'
    """
    text = as_kind(given, str, what, error)
    try:
        text.encode()
    except UnicodeEncodeError as why:
        raise error(f"{what}, got one with half of a surrogate pair: {ascii(text[:80])}") from why
    return text
