"""Words that older versions of the command line used: still accepted.

Each is answered with a line that names the present one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pave.errors import ConfigError
from pave.renamed import renamed

OLD_VERBS: Mapping[str, str] = {"store": "cache"}
OLD_FLAGS: Mapping[str, Mapping[str, str]] = {
    "train": {
        "--store": "--cache",
        "--on-top-of": "--base-patches",
        "--lora-below": "--base-lora",
    },
    "eval": {"--store": "--cache"},
    "extract": {"--store": "--cache"},
    "demo": {"--sense": "--channel"},
    "world": {"--kind": "--channel"},
}
"""Verb -> old flag -> present flag; the settings of the same name in a file are renamed alike."""


def present_words(words: Sequence[str]) -> list[str]:
    """The command in the words of today; every old one is named on the error stream.

    Example:
        >>> present_words(["train", "--cache", "tokens"])
        ['train', '--cache', 'tokens']
    """
    verb, *rest = words  # present or old, the verb comes first
    if verb in OLD_VERBS:
        _tell(verb, OLD_VERBS[verb])
        verb = OLD_VERBS[verb]
    flags = OLD_FLAGS.get(verb, {})
    return [verb, *(_present_flag(word, flags) for word in rest)]


def present_settings(verb: str, values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file under the names of today, at the file's top level.

    Raises:
        ConfigError: If the file gives one setting under both its names.
    """
    names = {_setting(old): _setting(new) for old, new in OLD_FLAGS.get(verb, {}).items()}
    try:
        return dict(renamed(values, names, "settings file"))
    except ValueError as error:
        raise ConfigError(f"settings file: {error}") from error


def _present_flag(word: str, flags: Mapping[str, str]) -> str:
    """`--store=tokens` -> `--cache=tokens`.

    The same where only a part of a setting is given, behind a dot.
    """
    end = min((word.index(mark) for mark in "=." if mark in word), default=len(word))
    old = word[:end].replace("_", "-")  # cyclopts takes both spellings
    if not word.startswith("--") or old not in flags:
        return word
    _tell(old, flags[old])
    return flags[old] + word[end:]


def _setting(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _tell(old: str, new: str) -> None:
    sys.stderr.write(f"pave: {old} is called {new} now\n")
