"""Settings on the command line: `--config FILE.yaml`, overrides beside it, and errors in words.

Order of precedence: a flag, then the file, then the default. Unknown keys of the file are refused
like unknown flags.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import (
    CycloptsError,
    MissingArgumentError,
    Parameter,
    Token,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.config import Dict
from pydantic import ValidationError

from pave.cli.old_names import present_settings
from pave.errors import ConfigError, first_problem
from pave.texts import TextError, parse_yaml, read_settings
from pave.train.recipes import settings_file

FLAG = "--config"
FREE = {"fusion", "encoder_settings", "trainer"}
"""Settings that are handed on as they are, whatever they hold."""
NESTED = {"channels", "mixture"}
"""Settings of named blocks, of which cyclopts hands on words alone."""
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
"""A flag that is off unless given."""


def take_config(words: Sequence[str]) -> tuple[list[str], list[Dict]]:
    """Take `--config FILE` out of the words.

    Returns:
        The other words, and the file as a source of settings (or no source).

    Raises:
        ConfigError: If the file cannot be read, or is not a mapping of settings.

    Example:
        >>> take_config(["train", "--seed", "1"])
        (['train', '--seed', '1'], [])
    """
    rest, files = [], []
    left = iter(words)  # one word may take the next one with it
    for word in left:
        if word == FLAG:
            files.append(next(left, ""))
        elif word.startswith(f"{FLAG}="):
            files.append(word.removeprefix(f"{FLAG}="))
        else:
            rest.append(word)
    if len(files) > 1:  # which one wins would be a guess
        raise ConfigError(
            f"{FLAG} was given {len(files)} times; give one file, and other settings as flags"
        )
    if not files:
        return rest, []
    values = present_settings(words[0], _read(files[0]))
    rest = _reach_inside(rest, values)
    _as_words(values)
    # Without use_commands_as_keys=False a flat file would be looked up under the verb's name and
    # silently ignored.
    return rest, [Dict(data=values, source=files[0], use_commands_as_keys=False)]


def _as_words(values: dict[str, Any]) -> None:
    """Write settings of a file in the words that cyclopts hands on unharmed, in place."""
    # cyclopts keeps only the last item of a list where no type announces one, so such values travel
    # as JSON.
    for field in FREE & values.keys():
        if isinstance(values[field], dict):
            values[field] = {
                name: json.dumps(value, default=str) for name, value in values[field].items()
            }
    for field in NESTED & values.keys():
        values[field] = _lists_as_json(values[field])
    if isinstance(values.get("device_map"), dict):
        values["device_map"] = json.dumps(values["device_map"])
    if isinstance(values.get("arms"), dict):
        values["arms"] = {
            name: ",".join(map(str, given)) if isinstance(given, list) else given
            for name, given in values["arms"].items()
        }


def _reach_inside(words: Sequence[str], values: dict[str, Any]) -> list[str]:
    """Put `--fusion.heads 4` and its like into the file's own block; the words that are left.

    Cyclopts merges a file and flags only where a settings class names the keys; of a free mapping
    it takes the flags alone.
    """
    given = {word.partition("=")[0].replace("-", "_") for word in words}
    open_blocks = {
        name
        for name in FREE | NESTED | {"arms"}
        if isinstance(values.get(name), dict) and f"__{name}" not in given
    }
    rest: list[str] = []  # words that cyclopts is left with
    left = list(words)
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        block, *path = flag.removeprefix("--").split(".")
        block = block.replace("-", "_")
        has_value = equals or (left and not left[0].startswith("--"))
        if not path or block not in open_blocks or not has_value:
            rest.append(word)
            continue
        value = value if equals else left.pop(0)
        _put(values[block], path, value if block == "arms" else _as_yaml(value))
    return rest


def _lists_as_json(value: Any) -> Any:
    """Lists at any depth as one word each: cyclopts would keep their last item alone."""
    if isinstance(value, dict):
        return {key: _lists_as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return json.dumps(value, default=str)
    return value


def _put(block: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value at a path of keys, over whatever was there."""
    *outer, last = path  # `fusion.heads` -> the block, then one key
    for key in outer:
        # A flag that reaches deeper than the file replaces its value.
        if not isinstance(block.get(key), dict):
            block[key] = {}
        block = block[key]
    block[last] = value


def _read(given: str) -> dict[str, Any]:
    """The settings in a file, or one sentence on what is wrong with it."""
    path = settings_file(given)
    # os.path answers for every name, pathlib raises on some.
    if not given or not os.path.isfile(path):
        raise ConfigError(
            f"{FLAG} needs a YAML file or the name of a recipe, {given or 'nothing'!r} is neither; "
            "check the path, or see: pave recipes"
        )
    values = read_settings(path, ConfigError, "steps: 500")
    if odd := _not_a_name(values):
        raise ConfigError(f"{path}: the name of a setting must be a word, got {odd[0]!r}")
    return values


def _not_a_name(values: Any) -> list[Any]:
    """Keys at any depth that YAML reads as something else than text, such as numbers."""
    if not isinstance(values, dict):
        return []
    odd = [key for key in values if not isinstance(key, str)]
    return odd + [key for inner in values.values() for key in _not_a_name(inner)]


def no_value(value: Any) -> Any:
    """Turn the words `null` and `none` into None.

    At any depth: a command line has no other way to say it.

    Example:
        >>> no_value({"channel": "null", "lora": {"rank": "8"}})
        {'channel': None, 'lora': {'rank': '8'}}
    """
    if isinstance(value, dict):
        return {key: no_value(inner) for key, inner in value.items()}
    return None if isinstance(value, str) and value.lower() in ("null", "none") else value


def from_words(values: Any) -> Any:
    """Settings as a command line (or a file read by it) hands them over, all in words, as values.

    Where a settings class has types, checking against it makes numbers of words. Fields that hold
    anything (`FREE`) are read as YAML.

    Example:
        >>> from_words({"channel": "none", "fusion": {"hidden": "64"}})
        {'channel': None, 'fusion': {'hidden': 64}}
    """
    values = no_value(values)
    if isinstance(values, dict):
        values |= {name: _as_yaml(values[name]) for name in (FREE | NESTED) & values.keys()}
    return values


def _as_yaml(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_yaml(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_yaml(inner) for inner in value]
    try:
        return parse_yaml(value) if isinstance(value, str) else value
    except TextError:  # plain words, then
        return value


def usage_error(error: CycloptsError) -> str:
    """A command line error in one sentence, in the words of whoever typed it."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        return validation_error(cause)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        keyword = error.keyword or next(
            (token.keyword for token in error.argument.tokens if token.keyword), None
        )
        return f"{keyword} needs a value" if keyword else f"{error.argument.name} is missing"
    if isinstance(error, UnknownOptionError) and _is_token(error.token):
        # Not echoed: it may stand in the same word.
        return (
            "pave does not take a token from flags or settings files, where others could read "
            "it; set HF_TOKEN, or log in with: hf auth login"
        )
    if isinstance(error, UnusedCliTokensError):
        unused = ", ".join(map(repr, error.unused_tokens or ()))
        return f"unexpected argument {unused}; quote words that belong together"
    return " ".join(str(error).split()).rstrip(".")


def _is_token(unknown: Token) -> bool:
    """Whether an unknown flag, or key of a file, is Hugging Face's token."""
    word = unknown.keyword or unknown.value  # of a flag only the second is known
    return re.match(r"(--|\[)token\b", word) is not None


def validation_error(error: ValidationError) -> str:
    """The first problem of settings: which one, what is wrong, and what was given.

    Example:
        >>> from pydantic import BaseModel
        >>> class Model(BaseModel):
        ...     steps: int
        >>> try:
        ...     Model(steps="x")
        ... except ValidationError as error:
        ...     validation_error(error).startswith("--steps: Input should be a valid integer")
        True
    """
    first = error.errors()[0]  # one line a mistake: the others show when it is mended
    where, what = first_problem(error)
    given = f", got {first['input']!r}" if isinstance(first["input"], str | int | float) else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    flag, dot, inside = where.partition(".")
    between = ": "
    if what.startswith("is "):  # "--out is missing"
        between = " "
    named = ""
    if where:
        named = f"--{flag.replace('_', '-')}{dot}{inside}{between}"
    return f"{named}{what}{given}{more}"
