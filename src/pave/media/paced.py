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
Rule = Literal["step", "round", "middle", "floor", "inside", "capped", "from", "dynamic", "second"]

STORED_SECONDS = 1e-3
"""Containers may round times to milliseconds, and with them the rate that the times tell."""
SKIPPED_SECONDS = 1
"""What SmolVLM leaves out at both ends of a long clip."""
DYNAMIC_RATES = ((30, 3), (300, 1), (2400, 0.5))
"""GLM-4.6V: clips of up to so many seconds -> steps of two frames a second; longer ones count as of
2,400 seconds."""
TENTH_SECONDS = 0.1
"""Between the moments that MiniCPM-V chooses from in a long clip."""


@dataclass(frozen=True)
class Paced:
    """As many frames as a clip's length asks for, by a video processor's rule.

    Attributes:
        rule: "step" (Qwen2-VL, VideoLLaMA3), "round" (Qwen3-VL), "middle" (InternVL), "floor"
            (transformers' default), "inside" (SmolVLM), "capped" (Molmo2), "from" (GLM-4.1V and
            4.5V), "dynamic" (GLM-4.6V) or "second" (MiniCPM-V).
        fps: Frames a second that are wanted; of "capped", the most.
        count: Frames that are wanted of any clip, whatever its length; of "inside", "capped",
            "dynamic" and "second", the most.
        least: Fewest frames, as far as the clip has them ("step" and "round").
        most: Most frames ("step" and "round").
        multiple: What the number of frames is a multiple of ("step").
        longest: Seconds of a clip up to which the rate counts ("from"); a longer one gets as many
            frames as one of that length.

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
    longest: float | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that select nothing."""
        for name in ("fps", "count", "least", "most", "multiple", "longest"):
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
    # The closer one first: at a second's length the two are a millisecond apart.
    whole = float(round(rate))
    for apart in (STORED_SECONDS / 2, STORED_SECONDS):
        for usual in (whole, ntsc):
            # A rate of less than half a frame a second is none of the usual ones.
            if not usual:
                continue
            wanted = steps / usual
            away = wanted - seconds
            if abs(away) <= apart:
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


def _from(paced: Paced, total: int, rate: float) -> Indices:
    """The first frame from each moment on; of a long clip, from moments spread to its end."""
    fps = paced.fps
    assert fps is not None
    seconds = total / rate
    longest = paced.longest or seconds
    if seconds <= longest:
        count = int(seconds * fps)
        moments = np.arange(max(count, 1))
        # In this order, as transformers rounds.
        places = moments * rate / fps
    else:
        count = int(longest * fps)
        if count >= total:
            return _pairs(np.arange(total))
        spread = np.linspace(0, seconds, count)
        places = spread * rate
    found = np.ceil(places)
    found = found.astype(np.int64)
    # The last moments may lie behind the last frame.
    found = np.minimum(found, total - 1)
    return _pairs(found)


def _dynamic(paced: Paced, total: int, rate: float) -> Indices:
    """Fewer frames a second of longer clips, by the times of all frames."""
    seconds = total / rate
    counted, fps = 0.0, 0.0
    for up_to, steps in DYNAMIC_RATES:
        counted = min(seconds, up_to)
        fps = steps * 2
        if seconds <= up_to:
            break
    most = paced.count or total
    count = int(counted * fps)
    count = min(count, most)
    count = max(count, 1)  # of a clip of less than a frame's time
    found: list[int] = []
    if total >= count:
        found = _reached(total, rate, fps)
    if len(found) == count:
        return _pairs(np.array(found))
    first, last = 0, total - 1
    # What was found is spread out; what is too much is chosen anew from the whole clip.
    if 0 < len(found) < count:
        first, last = found[0], found[-1]
    spread = np.linspace(first, last, count, dtype=np.int64)
    return _pairs(spread)


def _reached(total: int, rate: float, fps: float) -> list[int]:
    """The first frame from each moment on, up to the last whole second."""
    # Sums of fractions, whose rounding shows: counted as transformers counts.
    frame_seconds = 1 / rate
    gap = 1 / fps
    whole = int(total / rate)
    moment = 0.0
    found = []
    for frame in range(total):
        shown = frame * frame_seconds
        if shown < moment:  # a frame before it has been taken for this moment
            continue
        found.append(frame)
        moment += gap
        if moment >= whole:
            break
    return found


def _second(paced: Paced, total: int, rate: float) -> Indices:
    """The frame on screen at each whole second; of a long clip, at some tenths of seconds."""
    most = paced.count or total
    seconds = total / rate
    if seconds <= most:
        count = math.ceil(seconds)
        moments = np.arange(count, dtype=np.float64)
    else:
        count = int(seconds / TENTH_SECONDS)
        tenths = np.arange(count) * TENTH_SECONDS
        # Since ten times a tenth is not quite a second.
        moments = np.round(tenths, 1)
    places = moments * rate
    frames = places.astype(np.int64)
    # The last moment may lie behind the last frame.
    frames = np.minimum(frames, total - 1)
    if len(frames) > most:
        last = len(frames) - 1
        kept = np.linspace(0, last, most, dtype=np.int64)
        frames = frames[kept]
    return frames


def _pairs(frames: Indices) -> Indices:
    """Each frame once, and the last one again where their number is odd: two make a step."""
    once = np.unique(frames)  # in order, as they were
    if len(once) % 2:
        once = np.append(once, once[-1])
    return once.astype(np.int64)


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
    "from": _from,
    "dynamic": _dynamic,
    "second": _second,
}
