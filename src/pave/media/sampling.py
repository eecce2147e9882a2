"""Which frames of a video to take: a number, a rate, times, a processor's rule. No decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt

from pave.errors import ConfigError
from pave.media.paced import Indices, Paced, choose_paced

# Times in records are often rounded to milliseconds: a frame that starts within one is already on
# screen.
ROUNDING_SECONDS = 1e-3
MOST = 10_000_000
"""Frames of one clip: more are a mistake, and would take all memory."""


@dataclass(frozen=True)
class Uniform:
    """`count` frames spread over the whole clip, first and last included.

    The rule of the LLaVA and PAVE code, `np.linspace(0, N - 1, count, dtype=int)`: it rounds down,
    and a clip with fewer frames than asked for repeats some, so that the number of tokens never
    depends on the clip.
    """

    count: int

    def __post_init__(self) -> None:
        """Refuse a count that no clip can satisfy."""
        _must_be_count(self.count, "Uniform(count=...)")


@dataclass(frozen=True)
class Rate:
    """The frame on screen every `1 / fps` seconds from the first frame on.

    A frame is never taken twice: a rate above the video's own gives each frame once. When more than
    `at_most` frames come out, the `Uniform(at_most)` rule is used instead (as LLaVA-Video does), so
    that a long clip is still seen to its end.
    """

    fps: float
    at_most: int | None = None

    def __post_init__(self) -> None:
        """Refuse rates and limits that select nothing."""
        # A NaN is not above 0 either.
        if not isinstance(self.fps, Real) or not 0 < self.fps < float("inf"):
            raise ConfigError(
                f"Rate(fps={self.fps!r}): the rate must be a positive number of frames per second"
            )
        if self.at_most is not None:
            _must_be_count(self.at_most, "Rate(at_most=...)")


@dataclass(frozen=True)
class At:
    """The frame on screen at each of the given times, in seconds from the clip's start.

    A time before the first frame gives the first, a time after the last gives the last; times may
    repeat.
    """

    times: Sequence[float]

    def __post_init__(self) -> None:
        """Refuse an empty list and times that are no numbers."""
        try:
            moments = np.asarray(self.times, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"At(times): times are numbers of seconds ({error})") from error
        if moments.ndim != 1:
            raise ConfigError(f"At(times): pass a list of times, got {type(self.times).__name__}")
        if len(moments) == 0:
            raise ConfigError("At(times=[]): pass at least one time")
        if not np.isfinite(moments).all():
            raise ConfigError("At(times): every time must be a finite number of seconds")


Sampling = Uniform | Rate | At | Paced


def _must_be_count(count: object, what: str) -> None:
    """Refuse what is no whole number of frames from 1 on, or more than any clip gives."""
    # True is an int in Python, but no number of frames.
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise ConfigError(f"{what}: a whole number of frames is wanted, got {count!r}")
    if not 1 <= int(count) <= MOST:
        raise ConfigError(f"{what}: take from 1 to {MOST:,} frames, got {count}")


def must_be_sampling(sampling: object) -> None:
    """Refuse what is no rule for frames.

    Raises:
        ConfigError: If it is none.
    """
    if not isinstance(sampling, Sampling):
        raise ConfigError(
            "frames are chosen by Uniform, Rate, At or Paced of pave.media, got "
            f"{type(sampling).__name__}"
        )


def choose(times: npt.NDArray[np.float64], sampling: Sampling) -> Indices:
    """Indices of the frames that a sampling takes.

    Args:
        times: `[N]` timestamps of all frames in display order, seconds, the first one 0, N >= 1.
        sampling: The rule.

    Returns:
        `[F]` indices into `times`.
    """
    if isinstance(sampling, Uniform):
        return np.linspace(0, len(times) - 1, sampling.count, dtype=np.int64)
    if isinstance(sampling, At):
        return _on_screen(times, np.asarray(sampling.times, dtype=np.float64))
    if isinstance(sampling, Paced):
        return choose_paced(times, sampling)
    indices = _at_rate(times, sampling.fps)
    if sampling.at_most is not None and len(indices) > sampling.at_most:
        return choose(times, Uniform(sampling.at_most))
    return indices


def at_least(sampling: Sampling) -> int:
    """How many frames a sampling takes of every clip, however short."""
    if isinstance(sampling, Uniform):
        return sampling.count
    if isinstance(sampling, At):
        return len(sampling.times)
    return 1


def _on_screen(times: npt.NDArray[np.float64], moments: npt.NDArray[np.float64]) -> Indices:
    """For each moment the last frame that has started by then."""
    after = np.searchsorted(times, moments + ROUNDING_SECONDS, side="right")
    return np.clip(after - 1, 0, len(times) - 1).astype(np.int64)


def _at_rate(times: npt.NDArray[np.float64], fps: float) -> Indices:
    """Frames that are on screen at some multiple of 1 / fps."""
    # Multiples are counted from 0. The first one that sees each frame, or a later frame:
    first = np.ceil((times - ROUNDING_SECONDS) * fps)  # [N]
    # The first one that no longer does: where the successor begins, and behind the last frame.
    end = np.floor((times[-1] + ROUNDING_SECONDS) * fps) + 1
    beyond = np.append(first[1:], end)  # [N]
    return np.flatnonzero(first < beyond).astype(np.int64)
