"""Draws as plain Python numbers, which scenes are compared and saved by.

The order of draws is a part of the world: another one would make other clips of the same seed.
"""

from __future__ import annotations

import numpy as np


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number from a range, all equally likely."""
    return float(rng.uniform(low, high))


def count_of(rng: np.random.Generator, least: int, most: int) -> int:
    """A whole number from `least` up to `most`, both included."""
    return int(rng.integers(least, most + 1))


def place_in(rng: np.random.Generator, length: int) -> int:
    """A place in a sequence of that length."""
    return int(rng.integers(length))


def coin(rng: np.random.Generator) -> bool:
    """A fair coin."""
    return bool(rng.random() < 0.5)


def pick(rng: np.random.Generator, pool: tuple[str, ...], count: int) -> list[str]:
    """So many different names."""
    return [str(name) for name in rng.choice(np.array(pool), size=count, replace=False)]


def pick_one(rng: np.random.Generator, pool: tuple[str, ...]) -> str:
    """One name."""
    return pick(rng, pool, 1)[0]
