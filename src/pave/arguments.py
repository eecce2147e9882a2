"""Arguments that callers of the Python API give: checked here, refused with a typed error.

On the command line and in files, pydantic does this. A wrong argument of a function would otherwise
surface deep inside, as an error of Python or torch that names nothing the caller wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pave.errors import ConfigError, PaveError

T = TypeVar("T")


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
