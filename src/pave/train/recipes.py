"""The recipes that come with pave: settings of the paper's experiments, found by name.

They are package data, so that an installed pave has them without the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

from pave.errors import ConfigError
from pave.registry import did_you_mean


def recipes_folder() -> Path:
    """Where the recipes lie."""
    return Path(__file__).parents[1] / "recipes"


def list_recipes() -> dict[str, str]:
    """Name -> what it trains, from the comment that its file begins with.

    Example:
        >>> list_recipes()["avqa-7b"]
        'AVQA, sound; LLaVA-OneVision 7B'
    """
    # Sorted, so that a base's sizes stand together.
    summaries = {}
    for file in sorted(recipes_folder().glob("*.yaml")):
        # "# AVQA, sound; LLaVA-OneVision 7B. The authors' hyper-parameters; ..."
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        summaries[file.stem] = first.removeprefix("# ").partition(". ")[0]
    return summaries


def recipe_file(name: str) -> Path:
    """The file of a recipe.

    Raises:
        ConfigError: If there is none of that name.
    """
    known = list_recipes()
    if name not in known:
        hint = did_you_mean(name, list(known))
        raise ConfigError(f"there is no recipe {name!r}{hint} (see: pave recipes)")
    return recipes_folder() / f"{name}.yaml"


def settings_file(given: str) -> Path:
    """A settings file by its path, or by name if it is one of the recipes; a path goes first.

    Example:
        >>> settings_file("avqa-7b").name
        'avqa-7b.yaml'
    """
    # os.path answers for every text, pathlib raises on some.
    if not os.path.exists(given) and given in list_recipes():
        return recipe_file(given)
    return Path(given)
