"""What lives in the world: names, sprites, wall and floor colours, number words.

Every name is one common English word, so that an answer is one or two tokens. Three pools never
overlap: things that can sound, silent things, and silent things that only the test split shows
(sprite identity never seen in training).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Pool = Literal["sounding", "silent", "unseen"]
Rgb = tuple[int, int, int]

SOUNDING: Mapping[str, str] = MappingProxyType(
    {
        "piano": "1F3B9",
        "guitar": "1F3B8",
        "violin": "1F3BB",
        "trumpet": "1F3BA",
        "flute": "1FA88",
        "accordion": "1FA97",
        "drum": "1F941",
        "bell": "1F514",
        "bird": "1F426",
        "helicopter": "1F681",
        "phone": "260E",
        "harp": "1FA89",
    }
)
"""Name -> OpenMoji code of the things that have a voice (`sounds.VOICES` has the same keys)."""

SILENT: Mapping[str, str] = MappingProxyType(
    {
        "apple": "1F34E",
        "banana": "1F34C",
        "car": "1F697",
        "bus": "1F68C",
        "train": "1F682",
        "boat": "26F5",
        "bike": "1F6B2",
        "dog": "1F415",
        "cat": "1F408",
        "horse": "1F40E",
        "cow": "1F404",
        "fish": "1F41F",
        "tree": "1F333",
        "flower": "1F33B",
        "house": "1F3E0",
        "ball": "26BD",
        "book": "1F4D5",
        "chair": "1FA91",
        "hat": "1F3A9",
        "shoe": "1F45E",
        "key": "1F511",
        "lamp": "1F4A1",
        "cup": "2615",
        "cake": "1F382",
        "star": "2B50",
        "umbrella": "2602",
        "lion": "1F981",
        "rabbit": "1F407",
        "elephant": "1F418",
        "frog": "1F438",
        "turtle": "1F422",
        "pig": "1F416",
        "snake": "1F40D",
        "clock": "1F570",
        "mushroom": "1F344",
        "rocket": "1F680",
    }
)
"""Name -> OpenMoji code of silent things, shown in every split."""

UNSEEN: Mapping[str, str] = MappingProxyType(
    {
        "crown": "1F451",
        "anchor": "2693",
        "kite": "1FA81",
        "carrot": "1F955",
        "pizza": "1F355",
        "pear": "1F350",
        "spider": "1F577",
        "penguin": "1F427",
        "camera": "1F4F7",
        "ladder": "1FA9C",
        "scissors": "2702",
        "snail": "1F40C",
    }
)
"""Name -> OpenMoji code of silent things that only the test split shows."""

CODES: Mapping[str, str] = MappingProxyType({**SOUNDING, **SILENT, **UNSEEN})

WALLS: Mapping[str, Rgb] = MappingProxyType(
    {
        "red": (205, 62, 58),
        "orange": (242, 150, 52),
        "yellow": (248, 224, 84),
        "green": (92, 172, 92),
        "blue": (78, 130, 214),
        "purple": (140, 88, 182),
        "pink": (248, 172, 198),
        "grey": (152, 152, 152),
    }
)
"""Wall colours by name; scenes darken them by up to 15 % (in the test split also by up to 28 %)."""

FLOORS: tuple[Rgb, ...] = (
    (190, 170, 140),
    (122, 96, 72),
    (212, 206, 196),
    (92, 92, 98),
    (162, 142, 122),
)
"""Floor colours: neutral, because no question asks for them."""

NUMBERS = ("zero", "one", "two", "three", "four")


def names(pool: Pool) -> tuple[str, ...]:
    """Names of one pool, in a fixed order.

    Example:
        >>> "piano" in names("sounding")
        True
    """
    return tuple({"sounding": SOUNDING, "silent": SILENT, "unseen": UNSEEN}[pool])


def pool_of(name: str) -> Pool:
    """Pool of a name; a name outside the catalogue is a `KeyError` (our bug, never a user's)."""
    if name in SOUNDING:
        return "sounding"
    if name in SILENT:
        return "silent"
    if name in UNSEEN:
        return "unseen"
    raise KeyError(name)


def with_article(name: str) -> str:
    """The name with its indefinite article: ``"an apple"``, ``"a dog"``; scissors stay bare."""
    if name == "scissors":
        return name
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
