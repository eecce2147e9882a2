"""`tiny` as the scripts of `cases/models` know it: with the tables that they change."""

from __future__ import annotations

import sys
from itertools import takewhile
from types import ModuleType
from typing import Any

from helpers.tiny import *  # noqa: F403
from pave.answer import generation
from pave.bases import Base
from pave.patches.lora import LoraSet
from pave.testing import tiny_models, tiny_words
from pave.testing.tiny_words import SPECIALS as SPECIALS

TEXTS = [table for name, table in vars(tiny_models).items() if name.endswith("_TEXT")]


# A builder used to give the settings of the base's input beside the model.
BUILDERS = {
    name: lambda name=name: (tiny_models.BUILDERS[name](), tiny_models.SETTINGS.get(name))
    for name in tiny_models.BUILDERS
}


class Text(dict[str, Any]):
    """The settings of every tiny language model: what is written here reaches all of them."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        for table in (tiny_models.TEXT, *TEXTS):
            table[key] = value

    def update(self, *given: Any, **values: Any) -> None:
        for key, value in dict(*given, **values).items():
            self[key] = value


TEXT = Text(tiny_models.TEXT)


class Tiny(ModuleType):
    """What a script sets on this module is set where the tables are now."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "SPECIALS":
            tiny_words.SPECIALS = value
        if name == "HIDDEN":
            tiny_models.HIDDEN = value


sys.modules[__name__].__class__ = Tiny
# What a spec said of a family, the family says now.
Base.spec = property(lambda base: base.family)
# An answer is cut where it is decoded, no longer by a function of its own.
generation._until_stop = lambda ids, ends: [*takewhile(lambda token: token not in ends, ids)]
LoraSet._layers = property(lambda loras: loras.layers)
