"""ImageBind's sound front end, as the authors of PAVE ran it.

Resampling to 16 kHz, windows of 2 s, and of each a kaldi log-mel picture of 128 bands x 204 frames.

Source: `tools/audio/extract_imagebind_audio_feature.py` of PAVE and `imagebind/data.py`, on
torchaudio's `resample` and `compliance.kaldi.fbank`. Released patches were trained on exactly these
numbers, so the authors' quirks are kept:

* each window is a *view* of the track and has its mean subtracted in place, so a window that
  overlaps its predecessor carries a step at its middle;
* of stereo sound the mean is taken over both channels, the spectrum of the left one only;
* missing frames are filled with zeros before normalisation, which is not the floor of silence.

The tool first wrote an mp3 and read it back; that step is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

RATE = 16000  # samples per second that ImageBind hears
WINDOW_SECONDS = 2
STRIDE_SECONDS = 1
BANDS = 128  # of a picture
FRAMES = 204  # of a picture; 2 s give 198, the rest is filled
MEAN = -4.268  # of log-mel levels, from `imagebind/data.py`
STD = 9.138
_PIECE_SECONDS = 20  # of a track that are resampled at once, and up to twice as many at its end
_FRAME = 400  # samples, 25 ms
_HOP = 160  # samples, 10 ms
_FFT = 512  # samples, the power of two that holds a frame
_LARGEST = 2**24  # numbers in resampling kernels
_FLOOR = torch.finfo(torch.float32).eps  # kaldi's, before the logarithm


def resample(wave: Tensor, rate: int, to: int = RATE) -> Tensor:
    """Windowed-sinc resampling with torchaudio's defaults, kernel in float32.

    Those are a Hann window, 6 zero crossings and a rolloff of 0.99.

    Args:
        wave: `[channels, n]` float32.
        rate: Its samples per second.
        to: Samples per second wanted.

    Returns:
        `[channels, ceil(n * to / rate)]`.
    """
    return torch.cat(list(resampled(wave, rate, to)), dim=1)


def resampled(wave: Tensor, rate: int, to: int = RATE) -> Iterator[Tensor]:
    """What `resample` gives, in pieces `[channels, m]` that follow one another, to the bit."""
    if rate == to:
        yield from wave.split(_PIECE_SECONDS * rate, dim=1)
        return
    old, new = _ratio(rate, to)
    cutoff = min(old, new) * 0.99  # the rolloff keeps the filter's slope below Nyquist
    width = math.ceil(6 * old / cutoff)  # samples on either side that a new one hears
    kernel = _sinc_kernels(old, new, width, cutoff)  # [new, 1, taps]
    taps, length = kernel.shape[-1], wave.shape[1]
    blocks = (length + 2 * width + old - taps) // old + 1  # of `new` samples each
    left = resampled_length(length, rate, to)
    each = max(1, _PIECE_SECONDS * rate // old)  # blocks of a piece
    # The last piece takes the rest: torch adds up a short one in another order.
    for first in range(0, max(blocks - each, 1), each):
        end = first + each
        if end + each > blocks:
            end = blocks
        # Old samples that the blocks hear; in front of the track and behind it there is silence.
        start, stop = first * old - width, (end - 1) * old - width + taps
        heard = wave[:, max(start, 0) : max(stop, 0)]
        before = max(-start, 0)
        padded = F.pad(heard, (before, stop - start - before - heard.shape[1]))
        found = F.conv1d(padded[:, None], kernel, stride=old)  # [channels, new, end - first]
        piece = found.transpose(1, 2).flatten(1)[:, :left]  # [channels, new samples]
        left -= piece.shape[1]
        yield piece


def resampled_length(length: int, rate: int, to: int = RATE) -> int:
    """How many samples `resample` makes of so many.

    Example:
        >>> resampled_length(44101, 44100)
        16001
    """
    old, new = _ratio(rate, to)
    return math.ceil(new * length / old)


def can_resample(rate: int, to: int = RATE) -> bool:
    """Whether the kernels of `resample` are of a size that anybody wants.

    They hold as many numbers as the product of both rates without common factors: 70,000 for
    44.1 kHz, and 700 million, gigabytes, for 44,101 Hz.
    """
    old, new = _ratio(rate, to)
    return old * new <= _LARGEST


def _ratio(rate: int, to: int) -> tuple[int, int]:
    """So many old samples become so many new ones, in least numbers."""
    common = math.gcd(rate, to)
    return rate // common, to // common


def _sinc_kernels(old: int, new: int, width: int, cutoff: float) -> Tensor:
    """`[new, 1, taps]`: a kernel for each place that a new sample may have between old ones."""
    taps = torch.arange(-width, width + old) / old  # [taps]
    places = torch.arange(0, -new, -1) / new  # [new]
    distance = places[:, None, None] + taps  # [new, 1, taps]
    t = (distance * cutoff).clamp(-6, 6)  # in zero crossings
    window = torch.cos(t * math.pi / 6 / 2) ** 2  # Hann
    angle = t * math.pi
    sinc = angle.sin() / angle
    sinc = sinc.where(angle != 0, 1.0)  # its limit
    return sinc * window * (cutoff / old)


def mel_filters() -> Tensor:
    """`[128, 257]` kaldi filters: triangles linear in `1127 ln(1 + f / 700)` from 20 to 8000 Hz.

    The last bin has no weight. One filter (3) is so narrow that no bin falls into it.
    """
    low = 1127 * math.log(1 + 20.0 / 700)  # mel
    high = 1127 * math.log(1 + RATE / 2 / 700)
    step = (high - low) / (BANDS + 1)  # mel from one filter's peak to the next
    band = torch.arange(BANDS)[:, None]  # [128, 1]
    left = low + band * step  # mel, where a filter begins
    right = left + 2 * step
    hertz = torch.arange(_FFT // 2) * (RATE / _FFT)  # [256], of the FFT's bins
    mel = 1127 * (1 + hertz / 700).log()
    rising = (mel - left) / step  # [128, 256]
    falling = (right - mel) / step
    weights = torch.minimum(rising, falling).clamp_min(0)
    return F.pad(weights, (0, 1))  # kaldi leaves the Nyquist bin out


def melspec(wave: Tensor, filters: Tensor | None = None) -> Tensor:
    """Normalised log-mel picture of one window.

    Args:
        wave: `[channels, n]` at 16 kHz, n >= 400. Its mean is subtracted IN PLACE.
        filters: What `mel_filters` gives, if it is at hand.

    Returns:
        `[1, 128, 204]`.
    """
    if filters is None:
        filters = mel_filters()
    wave -= wave.mean()  # over both channels, and seen by the next window: the authors' quirk
    left = wave[0]  # the spectrum is of the left channel alone
    frames = left.unfold(0, _FRAME, _HOP)  # [frames, 400]
    frames = frames - frames.mean(1, keepdim=True)
    # Pre-emphasis: each sample less 0.97 of the one before, the first one less 0.97 of itself.
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    sharp = frames - 0.97 * before
    window = torch.hann_window(_FRAME, periodic=False)
    spectrum = torch.fft.rfft(sharp * window, n=_FFT)  # [frames, 257]
    power = spectrum.abs() ** 2
    mel = power @ filters.T  # [frames, 128]
    levels = mel.clamp_min(_FLOOR).log()
    missing = FRAMES - len(levels)  # zeros behind the last frame; a longer one is cut
    fitted = F.pad(levels.T, (0, missing))  # [128, 204]
    normal = (fitted - MEAN) / STD
    return normal[None]


def mel_windows(wave: Tensor) -> Tensor:
    """Pictures of all windows [i, i + 2) s of a track; the last fraction of a second is dropped.

    A track of less than 2 s, at which the authors' tool fails, is one window; one of less than a
    frame is filled with silence.

    Args:
        wave: `[channels, n]` at 16 kHz; left as it is.

    Returns:
        `[K, 1, 128, 204]`, K = max(1, int(n / 16000) - 1).
    """
    return torch.stack(list(each_window(wave, RATE)))


def each_window(wave: Tensor, rate: int) -> Iterator[Tensor]:
    """The pictures of `mel_windows` one by one, of a track `[channels, n]` at any rate."""
    length = resampled_length(wave.shape[1], rate)
    filters = mel_filters()
    size = WINDOW_SECONDS * RATE  # samples
    stride = STRIDE_SECONDS * RATE
    starts = range(0, max(1, length // RATE - 1) * stride, stride)
    if length < size:
        track = resample(wave, rate)  # a copy, which `melspec` may change
        missing = max(0, _FRAME - length)
        yield melspec(F.pad(track, (0, missing)), filters)
        return
    # In order, and on views of one track: each window finds the mean of the one before taken off.
    held = wave.new_empty(wave.shape[0], 0)
    at, number = 0, 0  # the sample at which the held part begins, and the next window
    for piece in resampled(wave, rate):
        # A sample before the window stays, so that it is a view of something longer: sums over two
        # channels are rounded otherwise where they lie side by side.
        over = max(number * stride - 1 - at, 0)
        at += over
        held = torch.cat([held[:, over:], piece], dim=1)
        end = at + held.shape[1]
        while number < len(starts) and starts[number] + size <= end:
            begin = starts[number] - at
            window = held[:, begin : begin + size]
            yield melspec(window, filters)
            number += 1
