"""`read_sound`: a file's sound track as mono float samples at one rate, placed in time beside the picture."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from torch import Tensor

from pave.errors import ConfigError, MediaError
from pave.media.container import (
    must_decode,
    open_media,
    other_tracks,
    packets,
    sound_stream,
    video_stream,
)

# A jump in the timestamps larger than this is a hole in the track (filled with silence); smaller
# ones are rounding.
HOLE_SECONDS = 0.05

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """A sound track.

    Attributes:
        samples: `[N]` float32, mono, about -1..1; `[channels, N]` where they were asked for apart.
        rate: Samples per second.
        start: Seconds from the clip's first frame to the first sample; negative when the sound
            starts earlier.
    """

    samples: Tensor
    rate: int
    start: float


def read_sound(path: str | Path, rate: int | None = 16000, *, mono: bool = True) -> Sound | None:
    """Decode the first sound track.

    Channels are averaged (so the same sound in both ears keeps its loudness) unless they are asked
    for apart. Holes in the track become silence, so that sample n is always `start + n / rate`
    seconds into the clip.

    Args:
        path: A video or sound file, or a folder of frames (which never has sound).
        rate: Samples per second wanted; None for those of the file, for encoders that resample in
            their own way.
        mono: Average the channels.

    Returns:
        The sound, or None when the file has no sound track: a legal missing channel.

    Raises:
        MediaError: If the file is missing, truncated, cannot be decoded, or holds neither picture
            nor sound.
    """
    if rate is not None and rate < 1:
        raise ConfigError(f"rate={rate}: must be a positive number of samples per second")
    if os.path.isdir(path):
        return None
    clip_start, key_seen = math.inf, False
    with open_media(path) as container:
        stream, picture = sound_stream(container), video_stream(container)
        if stream is None and picture is None:
            what = other_tracks(container)
            raise MediaError(
                f"{path}: holds neither picture nor sound, {what}; give a video or sound file"
            )
        if stream is None:
            return None
        must_decode(container, stream)
        track = _Track(rate or stream.codec_context.sample_rate, mono)
        for packet in packets(container, *(s for s in (stream, picture) if s is not None)):
            if (
                packet.stream.index == stream.index
            ):  # `stream_index` is wrong in the packets that flush
                for frame in stream.decode(packet):
                    track.add(frame)
                continue
            key_seen = (
                key_seen or packet.is_keyframe
            )  # what `read_frames` calls the first frame: see there
            if key_seen and packet.pts is not None and not packet.is_discard:
                clip_start = min(clip_start, packet.pts * float(packet.time_base))
        wave = track.finish()
    if track.start is None:
        raise MediaError(
            f"{path}: has a sound track without one sample that decodes; convert it again"
        )
    return Sound(
        torch.from_numpy(wave),
        track.rate,
        0.0 if clip_start == math.inf else track.start - clip_start,
    )


class _Track:
    """Collects decoded frames as one wave at the wanted rate, mono or with the channels of the first frame."""

    def __init__(self, rate: int, mono: bool = True) -> None:
        self.start: float | None = None
        self.rate = rate
        self._mono = mono
        self._layout: str | None = None
        self._pieces: list[Wave] = []
        self._samples = 0
        self._expected = 0.0
        self._kind: tuple[str, str, int] | None = None
        self._resampler = self._fresh()

    def add(self, frame: AudioFrame) -> None:
        """Take the next frame; silence is put where the track has a hole before it."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # some recordings change from mono to stereo on the way
            self._layout = self._layout or (None if self._mono else frame.layout.name)
            self._flush()
            self._kind = kind
        time = self._expected if frame.time is None else float(frame.time)
        if self.start is None:
            self.start = time
        elif time - self._expected > HOLE_SECONDS:
            self._flush()
            hole = round((time - self.start) * self.rate) - self._samples
            self._keep(np.zeros((*self._shape(), max(hole, 0)), dtype=np.float32))
        self._expected = time + frame.samples / frame.sample_rate
        self._collect(self._resampler.resample(frame))

    def finish(self) -> Wave:
        """The whole wave."""
        self._flush()
        return (
            np.concatenate(self._pieces, axis=-1) if self._pieces else np.zeros(0, dtype=np.float32)
        )

    def _flush(self) -> None:
        """Empty the resampler's delay line and start a new one."""
        self._collect(self._resampler.resample(None))
        self._resampler = self._fresh()

    def _shape(self) -> tuple[int, ...]:
        return self._pieces[0].shape[:-1] if self._pieces else ()

    def _fresh(self) -> AudioResampler:
        return AudioResampler(format="fltp", layout=self._layout, rate=self.rate)

    def _collect(self, frames: list[AudioFrame]) -> None:
        for frame in filter(
            None, frames
        ):  # flushing a resampler that has nothing to do gives a None
            piece = frame.to_ndarray()
            self._keep(
                piece.mean(axis=0, dtype=np.float32)
                if self._mono
                else piece.astype(np.float32, copy=False)
            )

    def _keep(self, piece: Wave) -> None:
        self._pieces.append(piece)
        self._samples += piece.shape[-1]
