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

RATE = 16000  # samples per second that ImageBind hears
WINDOW_SECONDS, STRIDE_SECONDS = 2, 1
BANDS, FRAMES = 128, 204  # of a picture; 2 s give 198 frames, the rest is filled
MEAN, STD = -4.268, 9.138  # of log-mel levels, from `imagebind/data.py`
_FRAME, _HOP, _FFT = 400, 160, 512  # samples: 25 ms, 10 ms, and the next power of two
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
    if rate == to:
        return wave
    common = math.gcd(rate, to)
    old = rate // common  # so many samples become `new`
    new = to // common
    cutoff = min(old, new) * 0.99  # the rolloff keeps the filter's slope below Nyquist
    width = math.ceil(6 * old / cutoff)  # samples on either side that a new one hears
    index = torch.arange(-width, width + old)[None, None] / old  # [1, 1, taps]
    # One kernel for each of the `new` places that a sample may have between the old ones.
    t = torch.arange(0, -new, -1)[:, None, None] / new + index  # [new, 1, taps]
    t = (t * cutoff).clamp(-6, 6)  # in zero crossings
    window = torch.cos(t * math.pi / 6 / 2) ** 2  # Hann
    t = t * math.pi
    sinc = torch.where(t == 0, torch.ones(()), t.sin() / t)
    kernel = sinc * window * (cutoff / old)
    padded = F.pad(wave, (width, width + old))
    blocks = F.conv1d(padded[:, None], kernel, stride=old)  # [channels, new, blocks]
    found = blocks.transpose(1, 2).reshape(len(wave), -1)
    return found[:, : math.ceil(new * wave.shape[1] / old)]


def mel_filters() -> Tensor:
    """`[128, 257]` kaldi filters: triangles linear in `1127 ln(1 + f / 700)` from 20 to 8000 Hz.

    The last bin has no weight. One filter (3) is so narrow that no bin falls into it.
    """
    low = 1127 * math.log(1 + 20.0 / 700)  # mel
    high = 1127 * math.log(1 + RATE / 2 / 700)
    step = (high - low) / (BANDS + 1)  # mel from one filter's peak to the next
    left = low + torch.arange(BANDS)[:, None] * step  # [128, 1] mel, where a filter begins
    hertz = torch.arange(_FFT // 2) * (RATE / _FFT)  # [256], of the FFT's bins
    mel = 1127 * (1 + hertz / 700).log()
    rising = (mel - left) / step  # [128, 256]
    falling = (left + 2 * step - mel) / step
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
    frames = wave[0].unfold(0, _FRAME, _HOP)  # [frames, 400], of the left channel
    frames = frames - frames.mean(1, keepdim=True)
    # Pre-emphasis: each sample less 0.97 of the one before, the first one less 0.97 of itself.
    padded = F.pad(frames[:, None], (1, 0), mode="replicate")  # [frames, 1, 401]
    before = padded[:, 0, :-1]
    window = torch.hann_window(_FRAME, periodic=False)
    shaped = (frames - 0.97 * before) * window
    power = torch.fft.rfft(shaped, n=_FFT).abs() ** 2  # [frames, 257]
    mel = power @ filters.T  # [frames, 128]
    levels = mel.clamp_min(_FLOOR).log().T  # [128, frames]
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
    track = wave.clone()  # `melspec` changes what it is given
    if wave.shape[1] < _FRAME:
        track = F.pad(wave, (0, _FRAME - wave.shape[1]))
    filters = mel_filters()
    count = max(1, int(wave.shape[1] / RATE) - 1)  # K
    size, stride = WINDOW_SECONDS * RATE, STRIDE_SECONDS * RATE  # samples
    starts = range(0, count * stride, stride)
    # In order, and on views of one track: each window finds the mean of the one before taken off.
    pictures = [melspec(track[:, start : start + size], filters) for start in starts]
    return torch.stack(pictures)
