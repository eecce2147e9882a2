"""`read_sound`: a file's sound as float samples at one rate, placed in time by the picture."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream
from torch import Tensor

from pave.errors import ConfigError, MediaError
from pave.media.container import must_decode, open_media, other_tracks, video_stream

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
    with open_media(path) as container:
        stream = next(iter(container.streams.audio), None)
        picture = video_stream(container)
        if stream is None and picture is None:
            what = other_tracks(container)
            raise MediaError(
                f"{path}: holds neither picture nor sound, {what}; give a video or sound file"
            )
        if stream is None:
            return None
        must_decode(container, stream)
        track = _Track(rate or stream.codec_context.sample_rate, mono)
        clip_start = _decode(container, stream, picture, track)
        track.resample(None)
    if track.start is None:
        raise MediaError(
            f"{path}: has a sound track without one sample that decodes; convert it again"
        )
    start = 0.0
    if clip_start < math.inf:
        start = track.start - clip_start
    return Sound(torch.from_numpy(np.concatenate(track.pieces, axis=-1)), track.rate, start)


def _decode(
    container: InputContainer, stream: AudioStream, picture: VideoStream | None, track: _Track
) -> float:
    """Give the whole track to `track`; returns when the first picture is shown, s, or infinity."""
    clip_start, key_seen = math.inf, False
    streams: list[Stream] = [stream]
    if picture is not None:
        streams.append(picture)
    for packet in container.demux(*streams):
        # Theora and Flash have empty packets that mean "the same again", which PyAV would take
        # for the end. At the end itself a packet has no time either.
        if not packet.size and packet.pts is not None:
            continue
        # Not `packet.stream_index`: it is wrong in the packets that flush a decoder.
        if packet.stream.index == stream.index:
            for frame in stream.decode(packet):
                track.add(frame)
            continue
        # What `read_frames` calls the first frame, see there.
        key_seen = key_seen or packet.is_keyframe
        if key_seen and packet.pts is not None and not packet.is_discard:
            clip_start = min(clip_start, packet.pts * float(packet.time_base))
    return clip_start


@dataclass
class _Track:
    """Collects decoded frames at the wanted rate, mono or with the channels of the first frame.

    Attributes:
        rate: Samples per second wanted.
        mono: Average the channels.
        start: Seconds at which the first frame stands, on the file's clock.
        pieces: The wave so far, `[n]` each, or `[channels, n]`.
    """

    rate: int
    mono: bool = True
    start: float | None = None
    pieces: list[Wave] = field(default_factory=list)
    _samples: int = 0  # in all pieces
    _expected: float = 0.0  # s, where the next frame should stand
    _kind: tuple[str, str, int] | None = None
    _layout: str | None = None  # None keeps that of each frame
    _resampler: AudioResampler | None = None

    def add(self, frame: AudioFrame) -> None:
        """Take the next frame; silence is put where the track has a hole before it."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # some recordings change from mono to stereo on the way
            if not self.mono and self._layout is None:
                self._layout = frame.layout.name
            self.resample(None)
            self._kind = kind
        time = self._expected
        if frame.time is not None:
            time = float(frame.time)
        if self.start is None:
            self.start = time
        elif time - self._expected > HOLE_SECONDS:
            self.resample(None)
            silent = max(round((time - self.start) * self.rate) - self._samples, 0)
            channels = self.pieces[0].shape[:-1] if self.pieces else ()
            self.pieces.append(np.zeros((*channels, silent), dtype=np.float32))
            self._samples += silent
        self._expected = time + frame.samples / frame.sample_rate
        self.resample(frame)

    def resample(self, frame: AudioFrame | None) -> None:
        """Bring a frame to the wanted rate and keep it; None gives out what is still on the way."""
        if self._resampler is None:
            if frame is None:
                return
            self._resampler = AudioResampler(format="fltp", layout=self._layout, rate=self.rate)
        for part in self._resampler.resample(frame):
            if part is None:  # what a resampler answers that has nothing to do
                continue
            piece = part.to_ndarray()  # [channels, n]
            if self.mono:
                piece = piece.mean(axis=0, dtype=np.float32)  # [n]
            self.pieces.append(piece.astype(np.float32, copy=False))
            self._samples += piece.shape[-1]
        if frame is None:
            self._resampler = None  # one that has been emptied takes no more
