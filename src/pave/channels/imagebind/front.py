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

import torch
from torch import Tensor
from torch.nn import functional as F

RATE = 16000
WINDOW_SECONDS, STRIDE_SECONDS = 2, 1
BANDS, FRAMES = 128, 204
MEAN, STD = -4.268, 9.138
_FRAME, _HOP, _FFT = 400, 160, 512
_FLOOR = torch.finfo(torch.float32).eps


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
    if rate == to:
        return wave
    common = math.gcd(rate, to)
    old, new = rate // common, to // common
    cutoff = min(old, new) * 0.99
    width = math.ceil(6 * old / cutoff)
    index = torch.arange(-width, width + old)[None, None] / old
    t = torch.arange(0, -new, -1)[:, None, None] / new + index
    t = (t * cutoff).clamp(-6, 6)
    window = torch.cos(t * math.pi / 6 / 2) ** 2
    t = t * math.pi
    kernel = torch.where(t == 0, torch.ones(()), t.sin() / t) * window * (cutoff / old)
    padded = F.pad(wave, (width, width + old))
    found = F.conv1d(padded[:, None], kernel, stride=old).transpose(1, 2).reshape(len(wave), -1)
    return found[:, : math.ceil(new * wave.shape[1] / old)]


def mel_filters() -> Tensor:
    """`[128, 257]` kaldi filters: triangles linear in `1127 ln(1 + f / 700)` from 20 to 8000 Hz.

    The last bin has no weight. One filter (3) is so narrow that no bin falls into it.
    """
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (20.0, RATE / 2))
    step = (high - low) / (BANDS + 1)
    left = low + torch.arange(BANDS)[:, None] * step
    mel = 1127 * (1 + torch.arange(_FFT // 2) * (RATE / _FFT) / 700).log()
    rising, falling = (mel - left) / step, (left + 2 * step - mel) / step
    return F.pad(torch.minimum(rising, falling).clamp_min(0), (0, 1))


def melspec(wave: Tensor, filters: Tensor | None = None) -> Tensor:
    """Normalised log-mel picture of one window.

    Args:
        wave: `[channels, n]` at 16 kHz, n >= 400. Its mean is subtracted IN PLACE.
        filters: What `mel_filters` gives, if it is at hand.

    Returns:
        `[1, 128, 204]`.
    """
    wave -= wave.mean()
    frames = wave[0].unfold(0, _FRAME, _HOP)
    frames = frames - frames.mean(1, keepdim=True)
    before = F.pad(frames[:, None], (1, 0), mode="replicate")[:, 0, :-1]
    shaped = (frames - 0.97 * before) * torch.hann_window(_FRAME, periodic=False)
    power = torch.fft.rfft(shaped, n=_FFT).abs() ** 2
    levels = (power @ (mel_filters() if filters is None else filters).T).clamp_min(_FLOOR).log().T
    fitted = F.pad(levels, (0, FRAMES - levels.shape[1]))  # zeros to the right, or cut
    return (fitted[None] - MEAN) / STD


def mel_windows(wave: Tensor) -> Tensor:
    """Pictures of all windows [i, i + 2) s of a track; the last fraction of a second is dropped.

    A track of less than 2 s, at which the authors' tool fails, is one window; one of less than a
    frame is filled with silence.

    Args:
        wave: `[channels, n]` at 16 kHz; left as it is.

    Returns:
        `[K, 1, 128, 204]`, K = max(1, int(n / 16000) - 1).
    """
    track = (
        F.pad(wave, (0, max(0, _FRAME - wave.shape[1]))) if wave.shape[1] < _FRAME else wave.clone()
    )
    filters = mel_filters()
    count = max(1, int(wave.shape[1] / RATE) - 1)
    size, stride = WINDOW_SECONDS * RATE, STRIDE_SECONDS * RATE
    return torch.stack(
        [melspec(track[:, i * stride : i * stride + size], filters) for i in range(count)]
    )
