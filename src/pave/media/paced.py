"""`Paced`: the frames that a checkpoint's own video processor would take of a clip.

Each rule is that of a `sample_frames` of transformers (5.23), index for index, on the clip's number
of frames and their average rate. Where transformers fails because a clip is shorter than what is
asked for, the clip's own frames are all that is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from pave.errors import ConfigError

Indices = npt.NDArray[np.int64]
Rule = Literal["step", "round", "middle", "floor", "inside", "capped"]

STORED_SECONDS = 1e-3
"""Containers may round times to milliseconds, and with them the rate that the times tell."""
SKIPPED_SECONDS = 1
"""What SmolVLM leaves out at both ends of a long clip."""


@dataclass(frozen=True)
class Paced:
    """As many frames as a clip's length asks for, by a video processor's rule.

    Attributes:
        rule: "step" (Qwen2-VL, VideoLLaMA3), "round" (Qwen3-VL), "middle" (InternVL), "floor"
            (transformers' default), "inside" (SmolVLM) or "capped" (Molmo2).
        fps: Frames a second that are wanted; of "capped", the most.
        count: Frames that are wanted of any clip, whatever its length; of "inside" and "capped",
            the most.
        least: Fewest frames, as far as the clip has them ("step" and "round").
        most: Most frames ("step" and "round").
        multiple: What the number of frames is a multiple of ("step").

    Raises:
        ConfigError: If a number selects nothing.

    Example:
        >>> choose_paced(np.arange(300) / 30, Paced("round", fps=2, least=4, most=8))
        array([  0,  43,  85, 128, 171, 214, 256, 299])
    """

    rule: Rule
    fps: float | None = None
    count: int | None = None
    least: int = 1
    most: int = 768
    multiple: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that select nothing."""
        for name in ("fps", "count", "least", "most", "multiple"):
            number = getattr(self, name)
            if number is not None and not 0 < number < math.inf:
                raise ConfigError(f"Paced({name}={number}): must be a positive number")


def choose_paced(times: npt.NDArray[np.float64], paced: Paced) -> Indices:
    """`[F]` indices of the frames that a rule takes.

    Args:
        times: `[N]` seconds of all frames in display order, N >= 1.
        paced: The rule and its numbers; one that says neither `fps` nor `count` takes them all.
    """
    total = len(times)  # N
    if total == 1:  # one picture has no rate
        return np.zeros(1, np.int64)
    if paced.fps is None and paced.count is None:
        return np.arange(total, dtype=np.int64)
    rate = average_rate(times)
    follow = _RULES[paced.rule]
    return follow(paced, total, rate)


def average_rate(times: npt.NDArray[np.float64]) -> float:
    """Frames per second of at least two times, as a file's header would say it.

    A whole number, or one of NTSC's (30000/1001), where the times differ from that by no more than
    their rounding.
    """
    steps = len(times) - 1
    seconds = float(times[-1] - times[0])
    seconds = max(seconds, STORED_SECONDS)  # equal times have no rate
    rate = steps / seconds
    # 24000/1001, 30000/1001, ... are a thousandth slower than the whole number.
    ntsc = round(rate * 1.001) * 1000 / 1001
    for usual in (float(round(rate)), ntsc):
        if usual and abs(steps / usual - seconds) <= STORED_SECONDS:
            return usual
    return rate


def _step(paced: Paced, total: int, rate: float) -> Indices:
    """Even steps from the first frame on, a multiple of frames."""
    multiple = paced.multiple
    if paced.count is not None:
        # To the nearest, and at 0.5 to the even one, as transformers rounds.
        count = round(paced.count / multiple)
        count *= multiple
    else:
        assert paced.fps is not None
        most = min(paced.most, total)
        most -= most % multiple
        wanted = max(total / rate * paced.fps, paced.least)
        wanted = min(wanted, most)
        # Of the rate's own number the rest is left out.
        count = math.floor(wanted / multiple)
        count *= multiple
    return _steps(0, total, count)


def _round(paced: Paced, total: int, rate: float) -> Indices:
    """First and last frame included, and rounded to the nearest between them."""
    count = paced.count
    if count is None:
        assert paced.fps is not None
        seconds = total / rate
        wanted = max(int(seconds * paced.fps), paced.least)
        count = min(wanted, paced.most, total)
    # A number that was given may be greater than the clip's: some frames repeat then.
    spread = np.linspace(0, total - 1, count)  # [F]
    return spread.round().astype(np.int64)


def _middle(paced: Paced, total: int, rate: float) -> Indices:
    """The middles of equal parts."""
    count = min(_wanted(paced, total, rate), total)
    half = total / count / 2  # of a part, in frames
    return _steps(half, total, count)


def _floor(paced: Paced, total: int, rate: float) -> Indices:
    """The beginnings of equal parts."""
    count = min(_wanted(paced, total, rate), total)
    parts = np.arange(count, dtype=np.int64)  # [F]
    # Whole numbers throughout, so nothing is rounded.
    return parts * total // count


def _inside(paced: Paced, total: int, rate: float) -> Indices:
    """At a rate up to a number of frames, from within a clip that is long; none is taken twice."""
    most = paced.count or total
    fps = paced.fps or rate
    seconds = total / rate
    count = min(round(fps * seconds), most)
    count = max(count, 1)
    first, last = 0, total - 1  # the whole clip
    # Frames against seconds, as transformers compares them.
    if seconds - 2 * SKIPPED_SECONDS > most * fps:
        skipped = SKIPPED_SECONDS * rate  # frames
        first = int(skipped)
        last = min(int(total - skipped), last)
    # A clip that is left nothing of is taken whole.
    if first >= last:
        first, last = 0, total - 1
    spread = np.linspace(first, last, count, dtype=np.int64)  # [F]
    return np.unique(spread)


def _capped(paced: Paced, total: int, rate: float) -> Indices:
    """A number of frames, but no more a second than the rate."""
    count = paced.count or total
    if paced.fps is not None and rate > paced.fps:
        seconds = total / rate
        count = min(count, int(seconds * paced.fps))
    return _steps(0, total, count)


def _wanted(paced: Paced, total: int, rate: float) -> int:
    """Frames by number or else by rate, one at least."""
    if paced.count is not None:
        return paced.count
    assert paced.fps is not None  # `choose_paced` has looked
    seconds = total / rate
    return max(int(seconds * paced.fps), 1)


def _steps(first: float, total: int, count: int) -> Indices:
    """Indices `total / count` apart, as torch counts them: in float32, whose rounding shows."""
    count = min(count, total)
    # Where nothing is left of a short clip, its first frame.
    count = max(count, 1)
    steps = torch.arange(first, total, total / count).int()  # [F]
    return steps.numpy().astype(np.int64)


_RULES: Mapping[Rule, Callable[[Paced, int, float], Indices]] = {
    "step": _step,
    "round": _round,
    "middle": _middle,
    "floor": _floor,
    "inside": _inside,
    "capped": _capped,
}
