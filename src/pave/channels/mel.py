"""The `audio/mel` encoder: log-mel windows with times. No weights, a few milliseconds a clip.

A token is a window of sound cut into a few equal bins; each bin holds the mean log-mel spectrum of
its STFT frames. Levels are in decibels relative to a full-scale sine and are normalised with fixed
numbers, never per clip: which of two clips, or of two instruments, is louder stays readable.
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from pave.cache import Source
from pave.channels.encoder import must_hold_tokens, one_path
from pave.channels.registry import register_encoder
from pave.errors import ChannelError
from pave.media import Sound, read_sound
from pave.tokens import Tokens

_BLOCK = 4096  # STFT frames whose spectra are held at once, and fewer where they are long
_BLOCK_VALUES = 2**24  # 64 MB of float32
# Values of all spectra of a second of sound: 1,000 a second with 2^16 values each pass, and usual
# ones are a hundred with a thousand.
_MOST_A_SECOND = 2**26
# Weights of all mel filters together, beyond which settings are a slip: 512 bands up to 96 kHz need
# a quarter of it.
_LARGEST = 2**26


class MelSettings(BaseModel):
    """Settings of the mel encoder; all lengths in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rate: int = Field(
        16000, ge=2000, le=192000, description="Samples per second to which the sound is resampled."
    )
    n_mels: int = Field(64, ge=1, le=512, description="Mel bands.")
    step: float = Field(0.2, ge=0.001, le=600, description="Seconds from one token to the next.")
    width: float = Field(
        0.2,
        gt=0,
        le=600,
        description="Seconds of sound that one token covers; above `step`, tokens overlap.",
    )
    bins: int = Field(
        4,
        ge=1,
        le=1000,
        description="Equal parts of a token, each with its own spectrum: dim = n_mels * bins.",
    )
    hop: float = Field(
        0.01,
        gt=0,
        le=600,
        description="Seconds from one STFT frame to the next; divides `step` and `width / bins`.",
    )
    window: float = Field(
        0.04, gt=0, le=10, description="Length of an STFT frame in seconds (Hann window)."
    )
    f_min: float = Field(30.0, ge=0, description="Lowest frequency in Hz.")
    f_max: float | None = Field(
        None, gt=0, description="Highest frequency in Hz; by default half the rate."
    )
    floor_db: float = Field(
        -80.0,
        ge=-300,
        le=100,
        description="Lower limit of the level (dB, 0 = full-scale sine); anything quieter is "
        "raised to it.",
    )
    mean_db: float = Field(-40.0, ge=-1000, le=1000, description="Level in dB that is mapped to 0.")
    std_db: float = Field(20.0, ge=0.001, le=1000, description="Decibels that are mapped to 1.")

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        """Tokens and bins must consist of whole STFT frames, and frames of whole samples."""
        for name, length in (("step", self.step), ("width / bins", self.width / self.bins)):
            frames = length / self.hop
            if round(frames) < 1 or abs(frames - round(frames)) > 1e-6 * frames:
                raise ValueError(
                    f"{name} = {length:g} s must be a multiple of hop = {self.hop:g} s"
                )
        samples = self.hop * self.rate
        if round(samples) < 1 or abs(samples - round(samples)) > 1e-6:
            raise ValueError(
                f"hop = {self.hop:g} s must be a whole number of samples at rate {self.rate}"
            )
        if round(self.window * self.rate) < 2:
            raise ValueError(f"window = {self.window:g} s must hold at least 2 samples")
        if not self.f_min < (self.f_max or self.rate / 2) <= self.rate / 2:
            raise ValueError("f_min < f_max <= rate / 2 must hold")
        if self.n_mels * _fft_size(self) > _LARGEST:
            raise ValueError(
                "the spectrum would be too fine; use fewer bands, a wider range, or a shorter "
                "window"
            )
        # What a second of sound costs; a patch from elsewhere could ask for any.
        if self.rate / round(samples) * _fft_size(self) > _MOST_A_SECOND:
            raise ValueError(
                f"hop = {self.hop:g} s with windows of {self.window:g} s would take hours and "
                "gigabytes; use a longer hop or a shorter window"
            )
        return self


@register_encoder("audio", "mel", MelSettings)
class MelEncoder:
    """Log-mel tokens `[T, 1, n_mels * bins]`, feature `b * n_mels + m` being band m of bin b.

    Times are the windows' centres on the clip's clock, so a track that starts late stays late. A
    last piece shorter than half a step is dropped (it is mostly the codec's padding), a longer one
    is filled up with silence.

    Example:
        >>> MelEncoder(MelSettings()).dim
        256
    """

    channel = "audio"
    name = "mel"

    def __init__(self, settings: MelSettings) -> None:
        self._set = settings
        self._filters = mel_filters(settings)  # [n_mels, n_fft // 2 + 1]
        # STFT frames are filled up with zeros to it.
        self._n_fft = 2 * (self._filters.shape[1] - 1)
        self._window = torch.hann_window(round(settings.window * settings.rate), periodic=True)

    @property
    def dim(self) -> int:
        """C = n_mels * bins."""
        return self._set.n_mels * self._set.bins

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    def encode(self, source: Source) -> Tokens | None:
        """Tokens of a file's sound track; None when it has none."""
        sound = read_sound(one_path(source, "audio/mel"), self._set.rate)
        if sound is None:
            return None
        return self.encode_sound(sound)

    def encode_sound(self, sound: Sound) -> Tokens:
        """Tokens of sound that is already decoded (for example straight from a microphone).

        Args:
            sound: Mono samples at the encoder's rate.

        Raises:
            ChannelError: If the rate differs.
        """
        s = self._set
        if sound.rate != s.rate:
            raise ChannelError(
                f"audio/mel was set up for {s.rate} samples per second, got {sound.rate}; read "
                "the sound at its rate"
            )
        hop = round(s.hop * s.rate)  # samples
        per_step = round(s.step / s.hop)  # STFT frames from one token to the next
        per_bin = round(s.width / s.bins / s.hop)  # STFT frames that a bin averages
        steps = max(1, round(len(sound.samples) / (s.step * s.rate)))  # T
        must_hold_tokens("audio/mel", steps, 1, self.dim)
        count = (steps - 1) * per_step + per_bin * s.bins  # STFT frames that T tokens need

        width = per_bin * s.bins  # STFT frames of a token
        values = torch.empty(steps, s.bins, s.n_mels)
        # In blocks, because the spectra of a long track are many times its size.
        length = max(1, min(_BLOCK, _BLOCK_VALUES // self._n_fft))
        done, first = 0, 0  # tokens, and the frame at which the kept levels begin
        levels = torch.empty(0, s.n_mels)
        for begin in range(0, count, length):
            end = min(begin + length, count)
            frames = self._frames(sound.samples, hop, begin, end)  # [end - begin, window]
            new = self._levels(frames)
            levels = torch.cat([levels, new])  # [kept, n_mels]
            over = done * per_step - first  # frames of finished tokens alone
            over = min(over, len(levels))
            levels = levels[over:]
            first += over
            # Tokens that do not touch have frames between them that are of none.
            if first < done * per_step or len(levels) < width:
                continue
            tokens = levels.unfold(0, width, per_step)  # [new, n_mels, bins * per_bin]
            bins = tokens.unflatten(2, (s.bins, per_bin)).mean(3)  # [new, n_mels, bins]
            values[done : done + len(bins)] = bins.transpose(1, 2)
            done += len(bins)
        values = values.reshape(steps, 1, s.bins * s.n_mels)
        times = sound.start + torch.arange(steps, dtype=torch.float64) * s.step + s.width / 2
        return Tokens(values, times)

    def _frames(self, samples: Tensor, hop: int, begin: int, end: int) -> Tensor:
        """STFT frames `[end - begin, window]`; what lies outside of the track is silence.

        Frame k is centred on the middle of hop k.
        """
        window = len(self._window)
        start = begin * hop - max(window - hop, 0) // 2
        stop = start + (end - begin - 1) * hop + window
        piece = samples[max(start, 0) : max(stop, 0)]
        before = max(-start, 0)
        behind = stop - start - before - len(piece)
        padded = torch.nn.functional.pad(piece.to(torch.float32), (before, behind))
        return padded.unfold(0, window, hop)

    def _levels(self, frames: Tensor) -> Tensor:
        """Normalised levels `[n, n_mels]` of STFT frames `[n, window]`."""
        s = self._set
        # A full-scale sine gives half the window's sum in its bin: scaled, its power is 1, or 0 dB.
        scale = (2 / self._window.sum()) ** 2
        spectrum = torch.fft.rfft(frames * self._window, n=self._n_fft)  # [n, n_fft // 2 + 1]
        power = (spectrum.real.square() + spectrum.imag.square()) * scale
        audible = (power @ self._filters.T).clamp_min(10 ** (s.floor_db / 10))  # [n, n_mels]
        decibels = 10 * torch.log10(audible)
        levels: Tensor = (decibels - s.mean_db) / s.std_db
        return levels


def mel_filters(settings: MelSettings) -> Tensor:
    """Triangular filters of height 1, evenly spaced on the HTK mel scale `2595 log10(1 + f / 700)`.

    The FFT is padded until its bins are finer than the narrowest filter, so that no filter is
    empty.

    Args:
        settings: Rate, bands, frequency range and STFT window.

    Returns:
        `[n_mels, n_fft // 2 + 1]` weights of power spectrum bins.
    """
    edges = _edges(settings)  # [n_mels + 2] Hz
    widths = edges.diff()[:, None]  # [n_mels + 1, 1] Hz
    n_fft = _fft_size(settings)
    # Of the FFT's bins, Hz.
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * settings.rate / n_fft
    rising = (frequencies - edges[:-2, None]) / widths[:-1]  # [n_mels, n_fft // 2 + 1]
    falling = (edges[2:, None] - frequencies) / widths[1:]
    return torch.minimum(rising, falling).clamp_min(0).to(torch.float32)


def _edges(settings: MelSettings) -> Tensor:
    """`[n_mels + 2]` Hz, at which the filters begin, peak and end."""
    top = settings.f_max or settings.rate / 2
    mels = torch.linspace(
        _to_mel(settings.f_min), _to_mel(top), settings.n_mels + 2, dtype=torch.float64
    )
    return torch.as_tensor(700 * (10 ** (mels / 2595) - 1))


def _fft_size(settings: MelSettings) -> int:
    """The power of two that holds a window and gives the narrowest filter a bin."""
    # Hz; 0 where f_min and f_max differ by next to nothing, and then the settings are refused.
    narrowest = max(float(_edges(settings).diff().min()), 1e-6)
    wanted = max(settings.window * settings.rate, settings.rate / narrowest)
    return int(2 ** math.ceil(math.log2(wanted)))


def _to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
