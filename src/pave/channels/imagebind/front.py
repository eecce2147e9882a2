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

from pave.channels.imagebind.resample import RATE, resample, resampled, resampled_length

WINDOW_SECONDS = 2
STRIDE_SECONDS = 1
_WINDOW = WINDOW_SECONDS * RATE  # samples
_STRIDE = STRIDE_SECONDS * RATE
BANDS = 128  # of a picture
FRAMES = 204  # of a picture; 2 s give 198, the rest is filled
MEAN = -4.268  # of log-mel levels, from `imagebind/data.py`
STD = 9.138
_FRAME = 400  # samples, 25 ms
_HOP = 160  # samples, 10 ms
_FFT = 512  # samples, the power of two that holds a frame
_FLOOR = torch.finfo(torch.float32).eps  # kaldi's, before the logarithm


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
    filters = mel_filters()
    for window in _windows(wave, rate):
        yield melspec(window, filters)


def _windows(wave: Tensor, rate: int) -> Iterator[Tensor]:
    """The windows of a track, `[channels, 32000]` each, resampled piece by piece.

    In order, and as views of one track: each finds the mean of the one before taken off.
    """
    length = resampled_length(wave.shape[1], rate)
    if length < _WINDOW:
        track = resample(wave, rate)  # a copy, which `melspec` may change
        yield F.pad(track, (0, max(0, _FRAME - length)))
        return
    count = length // RATE - 1  # a window a second, as long as two are left
    number = 0  # of the next window
    held = wave.new_empty(wave.shape[0], 0)  # the part of the track that windows still need
    first = 0  # its place in the track
    for piece in resampled(wave, rate):
        # A sample before the window stays, so that it is a view of something longer: sums over two
        # channels are rounded otherwise where they lie side by side.
        passed = max(number * _STRIDE - 1 - first, 0)
        held = torch.cat([held[:, passed:], piece], dim=1)
        first += passed
        while number < count and number * _STRIDE + _WINDOW <= first + held.shape[1]:
            begin = number * _STRIDE - first
            yield held[:, begin : begin + _WINDOW]
            number += 1
