"""Text files that somebody else wrote: read within limits, and printed without harm; counts.

One way to read text, JSON and YAML, so that every reader takes a byte-order mark, refuses what is
no regular file or no UTF-8, and stops at a size and a depth. What is wrong comes as one sentence of
the caller's own error.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pave.errors import PaveError, printable
from pave.files import regular_file

DEEPEST = 100
"""Levels of lists and objects; the deepest file that pave reads or writes has about ten.

Python itself stops at some hundred levels more, in the middle of whatever happens to walk them.
"""
MANY = 100_000
"""Values in a YAML file, each counted as often as it is named: a line may name the one before."""
DATA_BYTES = 4 << 30
"""Records and annotations: 4 GiB, some millions of questions."""
DOCUMENT_BYTES = 64 << 20
"""Settings, manifests and notes: 64 MiB."""
YAML_BYTES = 1 << 20
"""PyYAML takes a second for some hundred kB."""

BOM = "\ufeff"
# UTF-32 first: its mark begins with that of UTF-16.
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_HEAD = 4096  # bytes that tell another encoding which writes no mark


class TextError(ValueError):
    """Why a text cannot be read, in a few words; callers add the place and what to do."""


class TextFile(NamedTuple):
    """What a text file is for, so that its reader can complain.

    Attributes:
        path: The file.
        error: What to raise.
        advice: What to do then.
    """

    path: Path
    error: type[PaveError]
    advice: str


def read_text(file: TextFile, most: int = DATA_BYTES) -> str:
    r"""The text of a UTF-8 file; a byte-order mark is left out, lines end in `\n`.

    Args:
        file: The file.
        most: Bytes that it may have.

    Raises:
        PaveError: Of the file's kind: there is no regular file, or it is too large, or not in
            UTF-8.
    """
    data = _read_bytes(file, most)
    try:
        return decode(data)
    except TextError as error:
        raise file.error(f"{file.path}: {error}; {file.advice}") from error


def read_lines(file: TextFile, most: int = DATA_BYTES) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file that hold something, as `lines_of` gives them, one at a time.

    A file of a million lines takes the memory of a few.

    Args:
        file: The file.
        most: Bytes that it may have.

    Raises:
        PaveError: Of the file's kind, as `read_text`; broken UTF-8 shows when its line is reached.
    """
    _must_be_text(file, most)
    try:
        with file.path.open("rb") as opened:
            _must_not_be_utf16(opened.read(_HEAD))
        # The encoding leaves a mark out, and text mode makes all ends of lines alike.
        with file.path.open(encoding="utf-8-sig") as text:
            for number, line in enumerate(text, 1):
                # Files that were joined have a mark in their middle.
                line = line.removeprefix(BOM)
                line = line.rstrip("\n")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise _unreadable(file, error) from error
    except (TextError, UnicodeDecodeError):
        # Read whole, it says where; a decoder that streams does not know its place.
        read_text(file, most)
        raise


def _read_bytes(file: TextFile, most: int) -> bytes:
    """A file's content, if it is a regular file of no more than so many bytes."""
    _must_be_text(file, most)
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _must_be_text(file: TextFile, most: int) -> None:
    """Refuse what is no regular file, or has more bytes than it may have."""
    if not os.path.lexists(file.path):
        raise file.error(f"cannot read {file.path}: no such file; {file.advice}")
    regular_file(file.path, file.error, "a text file")
    size = os.path.getsize(file.path)
    if size > most:
        raise file.error(
            f"{file.path}: has {size:,} bytes, more than the limit of {most:,}; {file.advice}"
        )


def _unreadable(file: TextFile, error: OSError) -> PaveError:
    """What is said of a file that the system does not let us read."""
    return file.error(f"{file.path}: cannot be read ({error.strerror}); {file.advice}")


def decode(data: bytes) -> str:
    r"""Text of UTF-8 bytes, without a byte-order mark, with `\n` at the ends of lines.

    Raises:
        TextError: If they are in another encoding.

    Example:
        >>> decode(b"\xef\xbb\xbfa\r\nb")
        'a\nb'
    """
    _must_not_be_utf16(data[:_HEAD])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(f"is not UTF-8 ({error.reason} at byte {error.start:,})") from error
    # As Python's own text files do it: a lone carriage return ends a line, too.
    return io.StringIO(text, newline=None).getvalue()


def _must_not_be_utf16(head: bytes) -> None:
    """Refuse other encodings of text by the file's first bytes."""
    for mark, name in _OTHER_MARKS:
        if head.startswith(mark):
            raise TextError(f"is written in {name}, not in UTF-8; save it as UTF-8")
    # Valid UTF-8, but no text: UTF-16 without a mark, or a file that is not text at all.
    if b"\0" in head:
        raise TextError("holds NUL bytes, so it is not UTF-8 (perhaps UTF-16); save it as UTF-8")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        TextError: If it is none, is nested more than `DEEPEST` levels, or holds half of a surrogate
            pair, which no file can be written with.

    Example:
        >>> parse_json('{"a": [1]}')
        {'a': [1]}
        >>> parse_json("[" * 1000)
        Traceback (most recent call last):
            ...
        pave.texts.TextError: lists or objects are nested too deeply (more than 100 levels)
    """
    if isinstance(text, bytes):
        text = decode(text)
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise TextError(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        place = f" at column {error.colno}"
        if "\n" in text.strip():
            place = f", line {error.lineno}, column {error.colno}"
        raise TextError(f"not valid JSON ({error.msg}{place})") from error
    except UnicodeEncodeError as error:
        raise TextError("holds half of a surrogate pair (\\ud800 to \\udfff alone)") from error
    except ValueError as error:  # Python's own limit, whose text advises programmers
        raise TextError("cannot be read (it contains a number with thousands of digits)") from error
    # So few brackets cannot be nested too deeply: most records need no walk.
    if text.count("[") + text.count("{") > DEEPEST:
        _must_be_shallow(value)
    return value


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    r"""The lines of a text that hold something, each with its number; the first is 1.

    Not those of `splitlines`, which also cuts at U+2028 and others that JSON texts may hold. Files
    that were joined have a byte-order mark in their middle, at the start of a line.

    Example:
        >>> list(lines_of("a\n\nb"))
        [(1, 'a'), (3, 'b')]
    """
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removeprefix(BOM)
        if line.strip():
            yield number, line


def parse_yaml(text: str) -> Any:
    """The value of a YAML text (or of JSON, which is YAML), of plain types only.

    Raises:
        TextError: If it is none, is nested too deeply, or unfolds to more than `MANY` values.

    Example:
        >>> parse_yaml("lora: {rank: 8}")
        {'lora': {'rank': 8}}
    """
    import yaml  # most commands read none

    try:
        value = yaml.safe_load(text)
    except RecursionError as error:
        raise TextError(_TOO_DEEP) from error
    except yaml.YAMLError as error:
        raise TextError(f"not valid YAML ({' '.join(str(error).split())})") from error
    # What its makers of dates and numbers raise on the 31st of February and the like.
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise TextError(f"not valid YAML (a date or number in it: {error})") from error
    _must_be_shallow(value, MANY)
    return value


def read_json(file: TextFile, most: int = DATA_BYTES) -> Any:
    """The content of a JSON file.

    Raises:
        PaveError: Of the file's kind, if it cannot be read as JSON.
    """
    text = read_text(file, most)
    try:
        return parse_json(text)
    except TextError as error:
        raise file.error(f"{file.path}: {error}; {file.advice}") from error


def read_object(path: Path, error: type[PaveError], advice: str) -> dict[str, Any]:
    """A JSON object that a program wrote, and that something else may have damaged.

    Args:
        path: The file.
        error: What to raise where it is damaged.
        advice: What to do then.

    Raises:
        PaveError: Of the kind given, if it is no JSON object.
    """
    data = _read_bytes(TextFile(path, error, advice), DOCUMENT_BYTES)
    try:
        found = parse_json(data)
    except TextError as why:
        raise error(f"{path} is damaged ({why}); {advice}") from why
    if not isinstance(found, dict):
        raise error(
            f"{path} is damaged (expected a JSON object, not {type(found).__name__}); {advice}"
        )
    return found


def read_settings(path: Path, error: type[PaveError], example: str) -> dict[str, Any]:
    """A mapping of settings from a YAML or JSON file.

    Args:
        path: The file.
        error: What to raise if it is none.
        example: What such a file may hold, for the message.

    Raises:
        PaveError: Of the kind given.
    """
    advice = f"give a YAML file of settings such as `{example}`"
    text = read_text(TextFile(path, error, advice), YAML_BYTES)
    try:
        values = parse_yaml(text)
    except TextError as why:
        raise error(f"cannot read the settings file {path}: {why}; {advice}") from why
    if not isinstance(values, dict):
        raise error(
            f"{path} must hold a mapping of settings such as `{example}`, got "
            f"{type(values).__name__}"
        )
    return values


_TOO_DEEP = f"lists or objects are nested too deeply (more than {DEEPEST} levels)"


def _must_be_shallow(value: Any, most: int | None = None) -> None:
    """Refuse what is nested too deeply, or holds more values than `most`.

    Level by level, because a function that calls itself would end as those do that it protects. A
    YAML file may name itself inside itself: that is as deep as one likes.
    """
    level = [value]
    seen = 0
    for _ in range(DEEPEST):
        inner: list[Any] = []  # lists and objects of the next level
        for item in level:
            items = _items(item)
            seen += len(items)
            # Asked here, since one level can already be the whole of memory.
            if most is not None and seen > most:
                raise TextError(f"holds more than {most:,} values")
            inner += [one for one in items if isinstance(one, list | dict)]
        if not inner:
            return
        level = inner
    raise TextError(_TOO_DEEP)


def _items(value: Any) -> Collection[Any]:
    """What is directly inside a list or an object."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts, in the singular or the plural.

    Args:
        number: How many.
        one: What one of them is called; a verb may follow, as in "file is".
        many: The plural, where it is not `one` with an s.

    Example:
        >>> counted(1, "clip"), counted(1200, "clip")
        ('1 clip', '1,200 clips')
        >>> counted(1, "file is", "files are"), counted(0, "file is", "files are")
        ('1 file is', '0 files are')
    """
    if number == 1:
        return f"1 {one}"
    return f"{number:,} {many or one + 's'}"


class PrintableFormatter(logging.Formatter):
    """Log lines that a terminal shows and never obeys."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with control characters spelt out."""
        return printable(super().format(record))
