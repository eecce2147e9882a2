"""Sound at any rate -> 16 kHz, to the numbers of torchaudio's `resample` with its defaults.

Those are a windowed sinc with a Hann window, 6 zero crossings and a rolloff of 0.99, its kernel in
float32. ImageBind's front end runs on it, and released patches were trained on its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

RATE = 16000  # samples per second that ImageBind hears
_CROSSINGS = 6  # of zero, on either side of a kernel's middle
_ROLLOFF = 0.99  # of the Nyquist frequency, at which the filter begins to cut
_PIECE_SECONDS = 20  # of a track that are resampled at once, and up to twice as many at its end
_LARGEST = 2**24  # numbers in resampling kernels


def resample(wave: Tensor, rate: int) -> Tensor:
    """All of a track at 16 kHz.

    Args:
        wave: `[channels, n]` float32.
        rate: Its samples per second.

    Returns:
        `[channels, ceil(n * 16000 / rate)]`.
    """
    return torch.cat(list(resampled(wave, rate)), dim=1)


def resampled(wave: Tensor, rate: int) -> Iterator[Tensor]:
    """What `resample` gives, in pieces `[channels, m]` that follow one another, to the bit."""
    if rate == RATE:
        yield from wave.split(_PIECE_SECONDS * rate, dim=1)
        return
    old, new = _ratio(rate)
    cutoff = min(old, new) * _ROLLOFF
    width = math.ceil(_CROSSINGS * old / cutoff)  # samples on either side that a new one hears
    kernel = _sinc_kernels(old, new, width, cutoff)  # [new, 1, taps]
    taps = kernel.shape[-1]
    length = wave.shape[1]
    blocks = (length + 2 * width + old - taps) // old + 1  # of `new` samples each
    left = resampled_length(length, rate)  # of the last block, only a part is sound
    for first, end in _pieces(blocks, _PIECE_SECONDS * rate // old):
        # Old samples that the blocks hear: from `start` up to `stop`.
        start = first * old - width
        stop = (end - 1) * old - width + taps
        heard = wave[:, max(start, 0) : max(stop, 0)]
        # In front of the track and behind it there is silence.
        before = max(-start, 0)
        behind = stop - start - before - heard.shape[1]
        padded = F.pad(heard, (before, behind))
        found = F.conv1d(padded[:, None], kernel, stride=old)  # [channels, new, end - first]
        samples = found.transpose(1, 2).flatten(1)  # [channels, (end - first) * new]
        piece = samples[:, :left]
        left -= piece.shape[1]
        yield piece


def _pieces(blocks: int, each: int) -> Iterator[tuple[int, int]]:
    """First block and end of every piece, `each` blocks long; the last one takes the rest.

    As a piece of its own the rest could be short, and torch adds up a short one in another order.
    """
    each = max(1, each)
    for first in range(0, max(blocks - each, 1), each):
        end = first + each
        if end + each > blocks:
            end = blocks
        yield first, end


def resampled_length(length: int, rate: int) -> int:
    """How many samples `resample` makes of so many.

    Example:
        >>> resampled_length(44101, 44100)
        16001
    """
    old, new = _ratio(rate)
    return math.ceil(new * length / old)


def can_resample(rate: int) -> bool:
    """Whether the kernels of `resample` are of a size that anybody wants.

    They hold as many numbers as the product of both rates without common factors: 70,000 for
    44.1 kHz, and 700 million, gigabytes, for 44,101 Hz.
    """
    old, new = _ratio(rate)
    return old * new <= _LARGEST


def _ratio(rate: int) -> tuple[int, int]:
    """So many old samples become so many new ones, in least numbers."""
    common = math.gcd(rate, RATE)
    return rate // common, RATE // common


def _sinc_kernels(old: int, new: int, width: int, cutoff: float) -> Tensor:
    """`[new, 1, taps]`: a kernel for each place that a new sample may have between old ones."""
    taps = torch.arange(-width, width + old) / old  # [taps]
    places = torch.arange(0, -new, -1) / new  # [new]
    distance = places[:, None, None] + taps  # [new, 1, taps]
    t = (distance * cutoff).clamp(-_CROSSINGS, _CROSSINGS)  # in zero crossings
    # Hann, 0 at the outermost crossings.
    window = torch.cos(t * math.pi / _CROSSINGS / 2) ** 2
    angle = t * math.pi
    sinc = angle.sin() / angle
    sinc = sinc.where(angle != 0, 1.0)  # its limit
    return sinc * window * (cutoff / old)
