"""Checks of arguments: what is meant passes unchanged, all else is refused by its name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pave.arguments import as_flag, as_kind, as_list_of, as_text, as_whole
from pave.errors import ConfigError, MediaError


def test_what_is_meant_passes() -> None:
    """The same object comes back, so that a check can stand in an assignment."""
    names = ["a", "b"]
    assert as_flag(False, "stream") is False
    assert as_list_of(names, str, "names are texts") is names
    assert as_list_of((), str, "names are texts") == ()
    assert as_text("", "a question is a text") == ""
    assert as_whole(0, "seed", most=0) == 0


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: as_flag(1, "stream"), "stream must be True or False, got int"),
        (lambda: as_flag(np.bool_(True), "stream"), "stream must be True or False, got bool"),
        (lambda: as_kind(None, str, "a path is a text"), "a path is a text, got NoneType"),
        (lambda: as_list_of("ab", str, "names are texts"), "names are texts, got str"),
        (lambda: as_list_of({"a"}, str, "names are texts"), "names are texts, got set"),
        (lambda: as_list_of(["a", None], str, "names are texts"), "it holds NoneType"),
        (lambda: as_whole(True, "seed", most=9), "seed must be a whole number, got bool"),
        (lambda: as_whole(1.0, "seed", most=9), "seed must be a whole number, got float"),
        (lambda: as_whole(-1, "seed", most=9), "seed must be 0 or more, got -1"),
        (lambda: as_whole(10**9, "seed", most=10**6), "at most 1,000,000, got 1000000000"),
        (lambda: as_text(b"a", "a question is a text"), "a question is a text, got bytes"),
        (lambda: as_text("a\ud800", "a question is a text"), "half of a surrogate pair"),
    ],
)
def test_all_else_is_refused(check: Callable[[], object], words: str) -> None:
    """The message names the argument, and what it was."""
    with pytest.raises(ConfigError, match=words):
        check()


def test_the_error_is_the_callers() -> None:
    """A reader of media says that media are wrong."""
    with pytest.raises(MediaError):
        as_kind(3, str, "a video is a path", MediaError)
