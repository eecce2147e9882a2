"""Model names: the base, one patch, or a mix of patches with weights.

smol             the base
sound            one patch, at weight 1
sound:0.5        the same at half its weight
sound+depth      two patches
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from pave.errors import ConfigError
from pave.patches.patch import Patch
from pave.registry import did_you_mean
from pave.serve.failures import RequestError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def named(words: str) -> tuple[str, str]:
    """`--patch sound=FOLDER` as name and source; without a name the folder's own.

    Raises:
        ConfigError: If the name could not be told from a mix.

    Example:
        >>> named("sound=patches/concert"), named("patches/depth")
        (('sound', 'patches/concert'), ('depth', 'patches/depth'))
    """
    name, equals, source = words.partition("=")
    if not equals:
        name, source = Path(words).name, words
    if not _NAME.fullmatch(name) or not source:
        raise ConfigError(
            f"--patch takes NAME=FOLDER, with letters, digits, '_', '.' and '-' in the name, got "
            f"{words!r}"
        )
    return name, source


def base_id(name: str) -> str:
    """What a base is called in requests: its Hub id or short name; of a folder, its last part."""
    if Path(name).exists():
        return Path(name).resolve().name
    return name


def choice(model: str, base: str, patches: Mapping[str, Patch]) -> dict[str, float]:
    """The patches at work for a model's name, and their weights; none for the base.

    A patch that was trained on top of others brings these along, at weight 1 unless they are named
    with another.

    Args:
        model: The name in the request.
        base: What the base is called.
        patches: All patches there are.

    Raises:
        RequestError: If there is no such model.
    """
    if model == base:
        return {}
    weights: dict[str, float] = {}  # in the order of the request
    for word in model.split("+"):
        name, colon, number = word.partition(":")
        if name not in patches:
            known = [base, *patches]  # what a misspelt name may have meant
            raise RequestError(
                f"unknown model {model!r}{did_you_mean(name, known)}; available: "
                f"{', '.join(known)}, and mixes such as 'a+b' or 'a:0.5+b'",
                404,
                code="model_not_found",
                param="model",
            )
        if name in weights:
            raise RequestError(f"model {model!r}: {name!r} occurs twice", param="model")
        weights[name] = _weight(model, number) if colon else 1.0
    return _with_those_below(weights, patches)


def _weight(model: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    # Large ones are finite, too, but nobody has trained for them.
    if not -10 <= weight <= 10:
        raise RequestError(
            f"model {model!r}: a weight is a number from -10 to 10, got {number!r}", param="model"
        )
    return weight


def _with_those_below(weights: dict[str, float], patches: Mapping[str, Patch]) -> dict[str, float]:
    """The choice with all base patches of its patches."""
    found = dict(weights)
    # Down through base patches of base patches.
    left = [name for name, weight in weights.items() if weight != 0]
    while left:
        for below in patches[left.pop()].config.base_patches:
            if below.name not in found:
                found[below.name] = 1.0
                left.append(below.name)
    return found
