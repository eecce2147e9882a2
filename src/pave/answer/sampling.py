"""`Sampling`: how an answer is drawn from a model's probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pave.errors import ConfigError

_KINDS: dict[str, Any] = {
    "max_new_tokens": int,
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": int,
    "seed": (int, type(None)),
    "n": int,
    "beams": int,
}


@dataclass(frozen=True)
class Sampling:
    """How answers are generated; as it is, greedily.

    Attributes:
        max_new_tokens: Maximum length of an answer in tokens.
        temperature: 0 always takes the most likely token. Higher values sample tokens more evenly.
        top_p: Sample only from the most likely tokens that together have this probability.
        top_k: Sample only from this many most likely tokens; 0 means all.
        seed: Seed for sampling, which leaves the caller's random state alone. Without a seed, that
            state is used. The result also depends on which questions are answered together.
        n: Number of answers to each question.
        beams: Number of beams; 1 means no beam search.
        stop: Texts that end an answer; the answer does not include them.
        thinking: Keep what a model writes between `<think>` and `</think>`.

    Raises:
        ConfigError: If a value is out of range.

    Example:
        >>> Sampling(max_new_tokens=32, temperature=0.7, seed=0).top_p
        1.0
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    n: int = 1
    beams: int = 1
    stop: tuple[str, ...] = ()
    thinking: bool = False

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            # True and False are ints in Python, but no numbers of tokens.
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise ConfigError(
                    f"{name} must be a number (a whole one for tokens, seeds and counts), got "
                    f"{value!r}"
                )
        if self.max_new_tokens < 1:
            raise ConfigError(
                f"an answer needs at least 1 new token, got max_new_tokens={self.max_new_tokens}"
            )
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or more, got {self.temperature}")
        if self.seed is not None and not -(2**63) <= self.seed < 2**64:
            raise ConfigError(f"a seed must fit into 64 bits, got {self.seed}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.top_k < 0 or self.n < 1 or self.beams < 1:
            raise ConfigError(
                f"top_k must be at least 0, and n and beams at least 1, got top_k={self.top_k}, "
                f"n={self.n}, beams={self.beams}"
            )
        # The same answer n times is what nobody asks for.
        if self.temperature == 0 and self.n > self.beams:
            raise ConfigError(
                f"n={self.n} needs sampling (temperature above 0) or at least as many beams; "
                "otherwise all answers would be the same"
            )
        if not isinstance(self.stop, tuple) or not all(_is_text(text) for text in self.stop):
            raise ConfigError(f"stop must be a tuple of non-empty strings, got {self.stop!r}")


def _is_text(text: object) -> bool:
    return isinstance(text, str) and bool(text)


def as_sampling(given: object, max_new_tokens: int = 64) -> Sampling:
    """A sampling; a greedy one of so many tokens where none is given.

    Raises:
        ConfigError: If something else is given.
    """
    if given is None:
        return Sampling(max_new_tokens)
    if not isinstance(given, Sampling):
        raise ConfigError(f"sampling must be a pave.Sampling, got {type(given).__name__}")
    return given
